/** `start_server --help`. */
export const helpText = `Usage:
  start_server [options] -- program [argument...]
  start_server --restart --pid-file=FILE --status-file=FILE
  start_server --stop --pid-file=FILE

Keeps one program running on sockets that it owns. HUP starts the program anew and ends the old process once
the new one has lived for an interval; TERM and INT end both.

Sockets:
  --port=[HOST:]PORT[=FD]      listen on TCP; on IPv4's 0.0.0.0 without a host, [::1]:8080 for IPv6; as
                               descriptor FD of the program where that is given. u before the port (u53)
                               is UDP. May be repeated
  --path=PATH                  listen on a Unix socket. May be repeated
  --backlog=N                  connections that may wait (default: as many as the system allows)
The program finds them in SERVER_STARTER_PORT: 8080=3;/run/app.sock=4

Program:
  --dir=DIR                    working directory of the program
  --interval=SECONDS           a new process that ends within this time has failed and is tried again (1)
  --signal-on-hup=SIGNAL       ends the old process after a HUP (TERM)
  --signal-on-term=SIGNAL      ends the program after a TERM (TERM)
  --kill-old-delay=SECONDS     wait this long before the old process is told to end (0; 5 with auto-restart)
  --kill-timeout=SECONDS       send KILL to what has not ended this long after it was told to (default: never)
  --envdir=DIR                 a directory of variables, one a file, read for each start
  --enable-auto-restart        start anew by age, as after a HUP
  --auto-restart-interval=SECONDS  at this age (360)

Files:
  --pid-file=FILE              has the process id, and is locked while it runs
  --status-file=FILE           has a line GENERATION:PID for each process of the program
  --log-file=FILE              standard output and error go there
  --log-file="| COMMAND"       … or to the standard input of a command
  --daemonize                  run in the background; needs --log-file

Control:
  --restart                    send HUP, and wait until the old process has ended
  --restart-timeout=SECONDS    for no longer than this (600)
  --stop                       send TERM, and wait until the server has ended
  --help, --version

ENVDIR, ENABLE_AUTO_RESTART, AUTO_RESTART_INTERVAL and KILL_OLD_DELAY in the environment stand for the options.
Exit codes: 0 stopped as asked, 1 unreadable options (or --restart failed), 255 something is missing or makes no
sense, else the error number of what failed (98: address in use).
`;
