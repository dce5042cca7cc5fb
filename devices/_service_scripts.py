"""POSIX shell scripts that start a device's service as a plain process, stop it, and tell whether it runs.

Each is run as ``["sh", "-c", SCRIPT, "sh", FOLDER, ...]``, and prints one line of JSON. The service's own file
``service.pid`` says which process it is. A number that another process was given later is told apart by the process'
start and the boot.
"""

# In the folder: where the service listens, what it writes beside that, and what it prints.
SOCKET, RECORD, LOG = "service.sock", "service.pid", "service.log"

# ``born`` prints when a process began, in ticks since the boot, or nothing where there is none (a zombie is none);
# ``running`` sets ``pid`` and ``facts``, and tells whether the process that wrote the record still runs.
_COMMON = f"""
cd -- "$1" >/dev/null 2>&1 || {{ echo "Expected the folder of a service. Got: $1." >&2; exit 1; }}
born() {{
  line=$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) || return 0
  case $line in Z*|X*|'') return 0 ;; esac
  set -- $line
  echo "${{20}}"
}}
running() {{
  [ -f {RECORD} ] || return 1
  {{ read -r pid since boot; read -r facts; }} < {RECORD} || return 1
  [ "$boot" = "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null || echo -)" ] && [ "$(born "$pid")" = "$since" ]
}}
pause() {{ sleep 0.1 2>/dev/null || sleep 1; }}
now() {{ cut -d. -f1 /proc/uptime; }}
"""

_START = f"""
limit=$2
shift 2
own=false
skip=0
if running; then started=$pid; else
  if [ -f {LOG} ] && [ "$(wc -c < {LOG})" -gt 1000000 ]; then mv -f {LOG} {LOG}.1; fi
  [ -f {LOG} ] && skip=$(wc -c < {LOG})
  setsid nohup "$@" </dev/null >>{LOG} 2>&1 &
  started=$!
  own=true
fi
end=$(($(now) + limit))
reason="a process that ended"
while [ -n "$(born "$started")" ]; do
  if running && [ "$pid" = "$started" ]; then
    case $facts in *'"ready": true'*) printf '%s\n' "$facts"; exit 0 ;; esac
  fi
  if [ "$(now)" -ge "$end" ]; then
    reason="one that is still starting"
    if $own; then
      kill -KILL "$started" 2>/dev/null
      rm -f {SOCKET} {RECORD}
    fi
    break
  fi
  pause
done
echo "Expected a service that is ready within $limit s. Got: $reason; the last lines of its log:" >&2
tail -c "+$((skip + 1))" {LOG} | tail -n 15 >&2
exit 1
"""

_STOP = f"""
if ! running; then rm -f {RECORD}; echo '{{"running": false, "killed": false}}'; exit 0; fi
kill -TERM "$pid" 2>/dev/null
end=$(($(now) + $2))
while [ "$(born "$pid")" = "$since" ] && [ "$(now)" -lt "$end" ]; do pause; done
killed=false
if [ "$(born "$pid")" = "$since" ]; then
  kill -KILL "$pid" 2>/dev/null
  killed=true
  while [ "$(born "$pid")" = "$since" ]; do pause; done
fi
rm -f {SOCKET} {RECORD}
echo '{{"running": false, "killed": '$killed'}}'
"""

_STATUS = f"""
if running; then printf '%s\\n' "$facts"; exit 0; fi
died=false
[ -f {RECORD} ] && died=true
echo '{{"running": false, "died": '$died'}}'
"""


def start_script() -> str:
    """Return the script that starts the service and waits until it is ready.

    Arguments: the folder, whole seconds to wait, and the command, which is run in the folder with
    ``--socket service.sock``. Prints what runs: ``running``, ``ready``, ``pid``, ``name``, ``version``, ``since``.
    Where one runs already, that is left alone and printed: its version tells it apart. Ends with 1, and the last lines
    of its log on stderr, where the process ended or was not ready in time; what this script started is then gone.

    The process has a session of its own and none of the caller's files, so that it outlives an SSH channel.
    """
    return _COMMON + _START


def stop_script() -> str:
    """Return the script that ends the service: after SIGTERM it may finish what it is at.

    Arguments: the folder, and whole seconds until SIGKILL. Prints ``running``, which is false, and ``killed``. Nothing
    that runs is no error.
    """
    return _COMMON + _STOP


def status_script() -> str:
    """Return the script that tells whether the service runs.

    Argument: the folder. Prints what the start prints where it runs, otherwise ``running`` false and ``died``, which is
    true where it ended without having been stopped.
    """
    return _COMMON + _STATUS
