#!/bin/sh
# Mail the new lines of a log that look like trouble, with REQUIRETLS or not at all.
#
# usage: logwatch.sh LOG RECIPIENT        (from cron, see the crontab beside this file)
#
# Where the last run stopped is noted only when the message is safe: sent, or in the spool.
set -eu
log=${1:?usage: logwatch.sh LOG RECIPIENT}
recipient=${2:?usage: logwatch.sh LOG RECIPIENT}
mark=${LOGWATCH_STATE:-/var/lib/misc}/logwatch.$(basename "$log")

seen=$(cat "$mark" 2>/dev/null || echo 0)
size=$(wc -c < "$log")
[ "$size" -ge "$seen" ] || seen=0 # the log was rotated

lines=$(tail -c "+$((seen + 1))" "$log" | head -c "$((size - seen))" |
    grep -Ei 'fail|error|denied|refused' || true)

if [ -n "$lines" ]; then
    {
        printf 'To: %s\nSubject: %s on %s\nAuto-Submitted: auto-generated\n\n' \
            "$recipient" "$(basename "$log")" "$(uname -n)"
        printf '%s\n' "$lines"
    } | requiretls-sendmail -i -O requiretls=yes -- "$recipient"
fi
echo "$size" > "$mark"
