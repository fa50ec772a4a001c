#!/bin/sh
# The worker of the compatibility scenarios: tells what it was given and what happens to it, one line an event, on the
# FIFO $COMPAT_EVENTS. COMPAT_PLAN holds words GENERATION:BEHAVIOUR; COMPAT_SHOW the names of variables to report.
# A shell, since it is up in a millisecond however busy the machine is.
gen=$SERVER_STARTER_GENERATION

planned() {
  case " $COMPAT_PLAN " in *" $gen:$1 "*) return 0 ;; esac
  return 1
}

tell() {
  echo "$1" >>"$COMPAT_EVENTS"
}

if planned fail; then
  tell "failed gen=$gen"
  exit 3
fi

stubborn=
planned stubborn && stubborn=yes

told() {
  # What comes while it leaves is not told: whether it would be is chance.
  [ -n "$stubborn" ] || trap '' "$1"
  tell "signal gen=$gen $1"
  [ -n "$stubborn" ] && return
  [ "$1" = TERM ] && exit 0
  exit 7
}
for name in TERM INT HUP QUIT USR1 USR2 ALRM WINCH; do
  # shellcheck disable=SC2064
  trap "told $name" "$name"
done

# Its own descriptors, as `… 4 -> socket:[123]`; 1 and 2 are the harness's.
sockets=
[ -n "$SERVER_STARTER_PORT" ] &&
  for fd in $(ls -l "/proc/$$/fd" | sed -n 's/.* \([0-9]*\) -> socket:.*/\1/p' | sort -n); do
    [ "$fd" -ne 1 ] && [ "$fd" -ne 2 ] && sockets="$sockets${sockets:+,}$fd"
  done

line="up gen=$gen | pid=$$ | ports=$SERVER_STARTER_PORT | sockets=$sockets | cwd=$(pwd -P) | args=$*"
for name in $COMPAT_SHOW; do
  eval "line=\"\$line | $name=\${$name-(unset)}\""
done

echo "worker $gen says hello"
tell "$line"
# Waits for a child that waits for the end of the run: `wait` misses no signal, as `read` could.
cat <"$COMPAT_IDLE" >/dev/null 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &
while kill -0 "$!" 2>/dev/null; do wait "$!"; done
