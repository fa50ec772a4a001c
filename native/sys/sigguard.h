// Signals that arrive while this process replaces itself (execve) wait for the handlers of the new program.
//
// Blocked before the exec they stay pending over it. Two things would lose them or let them kill: another thread of
// the old program that takes one just before it ends, and Node.js, which unblocks all at its start. So every thread
// of the old program blocks them, and the new program is started with this object preloaded (LD_PRELOAD) and
// PREFORK_SIGNAL_GUARD=1,15,… in its environment: it then keeps them blocked, whatever mask is set, until they are
// released.
#ifndef PREFORK_SYS_SIGGUARD_H_
#define PREFORK_SYS_SIGGUARD_H_

#include <vector>

namespace prefork::sys {

// Blocks `signals` (1 to 31) in every thread: what arrives from now on stays pending, what arrived before has been
// handled by then. 0; −EAGAIN: a thread did not come to it within `timeout_ms`; −ENOTSUP: not Linux; else −errno. After
// a failure they are not blocked in this thread; in others they may be, which does no harm, since a signal to the process
// goes to a thread that takes it.
int HoldSignals(const std::vector<int>& signals, int timeout_ms);

// Ends the guard that this process was started under: its signals are unblocked in the calling thread, and arrive.
// Returns their number; 0: there is no guard.
int ReleaseSignals();

}  // namespace prefork::sys

#endif  // PREFORK_SYS_SIGGUARD_H_
