#!/usr/bin/env bash
# What the nats command line tool shows an operator of a cluster of three. NATS: the tool. NATS_URLS:
# the servers, named n1 to n3, with the users sys:p of the system account and a:p, who is anybody.
set -uo pipefail

IFS=, read -r url1 url2 url3 <<<"$NATS_URLS"
work=$(mktemp -d)
child=
trap '[[ -z $child ]] || kill "$child" 2>/dev/null; rm -rf "$work"' EXIT
failed=0

nats() { timeout 30 "$NATS" --no-context "$@"; }
system() { nats -s "$url1" --user sys --password p "$@" >"$work/out" 2>&1; }

# until_true SECONDS COMMAND...: repeats the command until it succeeds.
until_true() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.05
  done
}

# shows WORD...: whether the last output has all these words.
shows() {
  local word
  for word in "$@"; do grep -qF -- "$word" "$work/out" || return 1; done
}

all_servers_are_listed() { system server list 3 && shows n1 n2 n3 C1; }
all_servers_answer_pings() { system server ping 3 && shows n1 n2 n3; }

a_subscriber_is_reported() {
  timeout 60 "$NATS" --no-context -s "$url2" --user a --password p sub --raw --connection-name reported op.x >/dev/null 2>&1 &
  child=$!
  reported() { system server report connections --account A && shows reported n2 A; }
  until_true 20 reported
}

accounts_are_reported() { system server report accounts && shows A '$SYS'; }
routes_are_reported() { system server report routes && shows n1 n2 n3 '$SYS' rid:; }
health_is_reported() { system server report health && shows n1 n2 n3 'ok: 3 / err: 0'; }
memory_is_reported() { system server report mem && shows n1: n2: n3:; }
a_server_is_described() { system server info n2 && shows n2 'Slow Consumers: 0'; }

requests_are_answered() {
  local what
  for what in connections subscriptions variables routes accounts; do
    system server request "$what" --name n3 && shows '"name":"n3"' || return 1
  done
}

servers_are_checked() {
  system server check server --name n2 && shows 'OK n2' && system server check connection && shows OK
}

events_are_heard() {
  timeout 60 "$NATS" --no-context -s "$url1" --user sys --password p events --all --json >"$work/events" 2>&1 &
  local listener=$!
  heard() {
    nats -s "$url3" --user a --password p pub --quiet op.y hello >/dev/null 2>&1
    grep -q 'client_disconnect' "$work/events"
  }
  until_true 20 heard
  local status=$?
  kill "$listener"
  return $status
}

who_one_is() {
  nats -s "$url3" --user a --password p account info >"$work/out" 2>&1 && shows 'Account: A'
}

for check in all_servers_are_listed all_servers_answer_pings a_subscriber_is_reported accounts_are_reported \
  routes_are_reported health_is_reported memory_is_reported a_server_is_described requests_are_answered \
  servers_are_checked events_are_heard who_one_is; do
  if $check; then
    echo "ok ${check//_/ }"
  else
    failed=1
    echo "FAILED ${check//_/ }: $(tail -n 3 "$work/out" 2>/dev/null | tr '\n' ' ')"
  fi
done
echo done
exit $failed
