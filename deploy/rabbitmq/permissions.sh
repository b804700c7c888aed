#!/bin/sh
# Gives the least permissions to the users of a vhost; permissions.md says what each line is for.
# Make the users that you need first (each asks for a password): rabbitmqctl add_user rtm-pump
#   permissions.sh [VHOST]      VHOST is / unless given; users that don't exist are left out
# RABBITMQCTL is the program to run, such as "docker exec broker rabbitmqctl".
set -eu
vhost=${1:-/}

ctl() {
  # Not quoted: it may hold a program with arguments.
  ${RABBITMQCTL:-rabbitmqctl} "$@"
}

users=$(ctl --silent list_users)

allow() {
  if printf '%s\n' "$users" | cut -f1 | grep -qxF -e "$1"; then
    ctl set_permissions --vhost "$vhost" "$1" "$2" "$3" "$4"
  else
    echo "there is no user $1, so it got nothing; to have it: rabbitmqctl add_user $1" >&2
  fi
}

#     user         configure           write                        read
allow rtm-pump     '^(rtm\..*|rtmpump\.lock)$' '^(rtm\..*|amq\.default)$' '^(rtm\.(events|unrouted|outbound|answers\..*)|rtmpump\.lock)$'
allow rtm-consumer '^consumer\.'       '^consumer\.'                '^(consumer\..*|rtm\.(?!outbound$|outbound\.dead$|unrouted$).*)$'
allow rtm-app      '^(consumer\.|amq\.gen-)' '^(consumer\..*|amq\.gen-.*|amq\.default)$' '^(consumer\..*|amq\.gen-.*|rtm\.(?!outbound$|outbound\.dead$|unrouted$).*)$'
allow rtm-producer '^amq\.gen-'        '^amq\.default$'             '^amq\.gen-'
allow rtm-gateway  '^rtm\.gateway(\..*)?$' '^(rtm\.gateway(\..*)?|amq\.default)$' '^rtm\.(gateway(\..*)?|events)$'
allow rtm-operator '^amq\.gen-'        '^(amq\.gen-.*|amq\.default)$' '^(amq\.gen-.*|rtm\..*)$'
