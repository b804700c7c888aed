#!/bin/sh
# Prints the events of one type as they come: ./consume.sh reaction_added
set -eu

url=${AMQP_URL:-amqp://guest:guest@localhost:5672/%2F}
type=${1:-message}

echo "waiting for events of type $type" >&2
# amqp-tools can't bind a durable queue: this one ends with the script, and what it holds is lost.
# The command runs once for each event, which is acknowledged when the command ends with 0.
exec amqp-consume --url="$url" --exclusive --exchange="rtm.$type" --routing-key='#' \
  --prefetch-count=100 -- sh -c 'cat; echo'
