#!/usr/bin/env bash
# The nats command line tool against a cluster of three. NATS: the tool. NATS_URLS: the servers.
# NODE1_PID: the first one's process.
set -uo pipefail

IFS=, read -r url1 url2 url3 <<<"$NATS_URLS"
work=$(mktemp -d)
children=()
end() {
  for child in "${children[@]}"; do kill "$child" 2>/dev/null; done
  rm -rf "$work"
}
trap end EXIT
failed=0

nats() { timeout 30 "$NATS" --no-context "$@"; }

# until_true SECONDS COMMAND...: repeats the command until it succeeds.
until_true() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.02
  done
}

gone() { ! kill -0 "$1" 2>/dev/null; }

# publish_until_gone PID URL SUBJECT TEXT: publishes until the subscriber has had enough.
publish_until_gone() {
  local deadline=$((SECONDS + 20))
  until gone "$1"; do
    ((SECONDS < deadline)) || return 1
    nats -s "$2" pub --quiet "$3" "$4" >>"$work/log" 2>&1 || true
  done
}

pub_sub_across_nodes() {
  nats -s "$url1" sub --raw --count 3 cli.news >"$work/news" 2>>"$work/log" &
  children+=($!)
  publish_until_gone $! "$url3" cli.news "hello there" &&
    [[ $(grep -c '^hello there$' "$work/news") == 3 ]]
}

request_reply_across_nodes() {
  timeout 60 "$NATS" --no-context -s "$url2" reply cli.echo --echo >>"$work/log" 2>&1 &
  local responder=$!
  children+=("$responder")
  # Before the responder is known the tool reports that there is none, with status 0.
  answered() {
    nats -s "$url3" request --raw cli.echo ping >"$work/answer" 2>>"$work/log" &&
      grep -q '^ping' "$work/answer"
  }
  until_true 20 answered
  local status=$?
  kill "$responder"
  return $status
}

no_responders() {
  nats -s "$url1" request cli.nobody "" >"$work/nobody" 2>&1
  grep -qi 'no responders' "$work/nobody"
}

headers() {
  nats -s "$url2" sub --count 1 cli.headers >"$work/headers" 2>&1 &
  local sub=$!
  children+=("$sub")
  local deadline=$((SECONDS + 20))
  until gone "$sub"; do
    ((SECONDS < deadline)) || return 1
    nats -s "$url1" pub --quiet -H 'Color: red' cli.headers body >>"$work/log" 2>&1
  done
  grep -q 'Color: red' "$work/headers" && grep -q '^body$' "$work/headers"
}

queue_group_across_nodes() {
  nats -s "$url2" sub --raw --queue workers --count 5 cli.jobs >"$work/jobs2" 2>>"$work/log" &
  local two=$!
  nats -s "$url3" sub --raw --queue workers --count 5 cli.jobs >"$work/jobs3" 2>>"$work/log" &
  local three=$!
  children+=("$two" "$three")
  publish_until_gone "$two" "$url1" cli.jobs job && publish_until_gone "$three" "$url1" cli.jobs job &&
    [[ $(cat "$work/jobs2" "$work/jobs3" | grep -c '^job$') == 10 ]]
}

round_trip_times() {
  nats -s "$url1" rtt >"$work/rtt" 2>&1 && grep -q "${url1#nats://}" "$work/rtt"
}

connection_check() {
  nats -s "$url2" server check connection >"$work/check" 2>&1 && grep -q '^OK' "$work/check"
}

benchmark() {
  nats -s "$url1" bench pub cli.bench --msgs 10000 --size 16 --no-progress >"$work/bench" 2>&1 &&
    grep -q 'msgs/sec' "$work/bench"
}

reconnect_by_what_info_says() {
  : >"$work/failover"
  nats -s "$url1" sub --raw --count 2 cli.failover >"$work/failover" 2>>"$work/log" &
  local sub=$!
  children+=("$sub")
  local deadline=$((SECONDS + 20))
  until grep -q '^before$' "$work/failover"; do
    ((SECONDS < deadline)) || return 1
    # The second of two would end the subscriber: one at a time, until the first is there.
    nats -s "$url3" pub --quiet cli.failover before >>"$work/log" 2>&1
    until_true 1 grep -q '^before$' "$work/failover" || true
  done
  kill -KILL "$NODE1_PID"
  publish_until_gone "$sub" "$url3" cli.failover after && grep -q '^after$' "$work/failover"
}

for check in pub_sub_across_nodes request_reply_across_nodes no_responders headers \
  queue_group_across_nodes round_trip_times connection_check benchmark \
  reconnect_by_what_info_says; do
  if $check; then
    echo "ok ${check//_/ }"
  else
    failed=1
    echo "FAILED ${check//_/ }: $(tail -n 2 "$work/log" 2>/dev/null | tr '\n' ' ')"
  fi
done
echo done
exit $failed
