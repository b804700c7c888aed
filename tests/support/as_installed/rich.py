"""Hide a package that only our tools bring: the program is installed without it.

structlog imports it wherever it is, which takes a fifth of the time in which the program starts.
"""

raise ImportError("rich is no dependency of the program")
