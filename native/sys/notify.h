// Word to the service manager that started this process: datagrams to a Unix socket by its name, sd_notify(3).
#ifndef PREFORK_SYS_NOTIFY_H_
#define PREFORK_SYS_NOTIFY_H_

#include <stddef.h>

#include <string>

namespace prefork::sys {

// One datagram, whole or not at all, from a socket without a name. A leading zero byte makes `path` an abstract name.
// Bytes sent; −EAGAIN: the receiver's queue is full; −ENOENT, −ECONNREFUSED: nobody receives there; −EMSGSIZE;
// −EINVAL: no data or no path; −ENAMETOOLONG.
int SendUnixDatagram(const std::string& path, const void* data, size_t bytes);

}  // namespace prefork::sys

#endif  // PREFORK_SYS_NOTIFY_H_
