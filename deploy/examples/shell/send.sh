#!/bin/sh
# Sends a message to Slack and waits for its result: ./send.sh general 'Hello world'
set -eu

[ $# = 2 ] || { echo "usage: $0 CHANNEL TEXT" >&2; exit 2; }
url=${AMQP_URL:-amqp://guest:guest@localhost:5672/%2F}
command=$(jq --null-input --arg channel "$1" --arg text "$2" \
  '{type: "message", channel: $channel, text: $text}')

# amqp-publish can't set a correlation id, so this one command gets a queue for its result.
replies=$(amqp-declare-queue --url="$url" --durable --queue='')
trap 'amqp-delete-queue --url="$url" --queue="$replies" >/dev/null' EXIT
trap 'exit 130' INT TERM

amqp-publish --url="$url" --routing-key=rtm.outbound --persistent \
  --content-type=application/json --reply-to="$replies" --body="$command"
result=$(timeout 30 amqp-consume --url="$url" --queue="$replies" --count=1 cat) ||
  { echo "no result within 30 s" >&2; exit 1; }
echo "$result"
echo "$result" | jq --exit-status .ok >/dev/null
