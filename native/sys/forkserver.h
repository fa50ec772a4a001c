// fork(2) without exec for a process with threads.
#ifndef PREFORK_SYS_FORKSERVER_H_
#define PREFORK_SYS_FORKSERVER_H_

namespace prefork::sys {}  // namespace prefork::sys

#endif  // PREFORK_SYS_FORKSERVER_H_
