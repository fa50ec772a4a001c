// The end of a listener without losing who already waits in its queue.
#ifndef PREFORK_SYS_QUIESCE_H_
#define PREFORK_SYS_QUIESCE_H_

namespace prefork::sys {

// Makes a TCP listener drop new connection requests (SYN) while those begun before still complete and can be
// accepted. The client's kernel asks again a second later: another listener on that address then takes it, or it is
// refused. −ENOTSUP where the platform has no socket filters.
int DropSyn(int fd);

}  // namespace prefork::sys

#endif  // PREFORK_SYS_QUIESCE_H_
