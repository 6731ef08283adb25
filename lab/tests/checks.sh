# What the lab's tests share: a check is a sentence and a command, and the last line counts them.
passed=0 failed=0

check() {
  local sentence=$1
  shift
  if "$@"; then
    echo "ok   $sentence"
    passed=$((passed + 1))
  else
    echo "FAIL $sentence"
    failed=$((failed + 1))
  fi
}

# Asks a command until it succeeds; after so many seconds it is asked once more, and heard.
within() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    if [ "$SECONDS" -ge "$deadline" ]; then
      "$@"
      return
    fi
    sleep 0.2
  done
}

closing_line() {
  echo "$passed passed, $failed failed"
  [ "$failed" -eq 0 ]
}
