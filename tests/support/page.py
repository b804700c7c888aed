"""What tests of the page in a browser share: what it is given, and what they look at."""

from __future__ import annotations

import json
import random
from typing import Any

from tests.support.chromium import Tab
from tests.support.http import Service

CONTRASTS = """(() => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(part => part / 255)
    .map(part => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4)
    .reduce((sum, part, i) => sum + part * [.2126, .7152, .0722][i], 0);
  const ratio = (one, other) => {
    const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
    return (high + .05) / (low + .05);
  };
  const ground = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
  };
  const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (words.nextNode()) {
    const element = words.currentNode.parentElement;
    if (!words.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.closest('script, noscript, svg')) continue;
    const colour = parse(getComputedStyle(element).color);
    found.push(['text', words.currentNode.data.trim(), ratio(colour, ground(element))]);
  }
  const panel = ground(document.querySelector('svg')?.parentElement ?? document.body);
  for (const band of document.querySelectorAll('svg path:not(.grid)')) {
    const style = getComputedStyle(band);
    const colour = parse(band.matches('.gap') ? style.stroke : style.fill);
    found.push(['drawing', band.textContent, ratio(colour, panel)]);
  }
  return found;
})()"""
"""Gives what kind it is, the text, and its contrast, of all that can be seen."""
TOO_WIDE = """[...document.querySelectorAll('.panel, li, dl div, .banner, section')]
  .filter(one => one.scrollWidth > one.clientWidth).map(one => one.innerText)"""
"""Gives the parts of the page that are wider than their place."""


def status_of(service: Service) -> dict[str, Any]:
    """Give the document of `/status`."""
    status: dict[str, Any] = json.loads(service.ask("/status").body)
    return status


def history(rows: int, seconds: float, *types: str) -> dict[str, Any]:
    """Give a history with events of each type."""
    dice = random.Random(len(types))
    return {
        "at": [f"2026-11-24T12:{place // 6:02}:{place % 6}0Z" for place in range(rows)],
        "seconds": [seconds] * rows,
        "received": {type: [dice.randrange(60) for _ in range(rows)] for type in types},
    }


def shown(tab: Tab, status: dict[str, Any], expression: str) -> Any:
    """Give what an expression is while the page shows this status."""
    return tab.value(f"show({json.dumps(status)}); {expression}")
