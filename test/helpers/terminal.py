"""Runs a command on a terminal of its own. Standard input: lines of JSON, {"keys": text}, {"resize": [rows, columns]} or {"signal": number};
standard output: what the terminal shows, as it comes; standard error: one line of JSON when it has ended."""
import fcntl, json, os, select, signal, struct, sys, termios

rows, columns = int(sys.argv[1]), int(sys.argv[2])
master, slave = os.openpty()

def resize(rows, columns):
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

resize(rows, columns)
before = termios.tcgetattr(slave)
pid = os.fork()
if pid == 0:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in range(3):
        os.dup2(slave, fd)
    os.closerange(3, 64)
    os.execvp(sys.argv[3], sys.argv[3:])

out = sys.stdout.buffer

def drain(seconds):
    shown = False
    while select.select([master], [], [], seconds)[0]:
        out.write(os.read(master, 65536))
        out.flush()
        shown = True
        seconds = 0
    return shown

status, text, reading = None, b"", [sys.stdin.fileno()]
while status is None:
    ready, _, _ = select.select([master, *reading], [], [], 0.05)
    if master in ready:
        drain(0)
    if reading and reading[0] in ready:
        more = os.read(reading[0], 65536)
        if more == b"":
            reading = []
            os.kill(pid, signal.SIGKILL)
        text += more
        while b"\n" in text:
            line, text = text.split(b"\n", 1)
            order = json.loads(line)
            if "keys" in order:
                os.write(master, order["keys"].encode())
            if "resize" in order:
                resize(*order["resize"])
            if "signal" in order:
                os.kill(pid, order["signal"])
    ended, raw = os.waitpid(pid, os.WNOHANG)
    if ended:
        status = raw
drain(0.1)
after = termios.tcgetattr(slave)
print(json.dumps({"status": status, "restored": before == after}), file=sys.stderr)
