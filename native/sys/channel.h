// Packets with descriptors between two processes.
#ifndef PREFORK_SYS_CHANNEL_H_
#define PREFORK_SYS_CHANNEL_H_

#include <stddef.h>
#include <stdint.h>

#include <vector>

namespace prefork::sys {

// What the kernel passes at most in one packet (SCM_MAX_FD).
constexpr size_t kMaxPassedFds = 253;

// A pair of packet sockets, FD_CLOEXEC and non-blocking. 0 or −errno.
int ChannelPair(int ends[2]);

// One packet, not empty, never in part. Bytes sent; −EAGAIN: the peer's queue is full; −EPIPE: it is gone;
// −EMSGSIZE: too long; −EINVAL: no data, or too many descriptors.
int SendMessage(int fd, const void* data, size_t bytes, const std::vector<int>& fds);

// One packet. Bytes received; 0: end of file; −EAGAIN: none within the time; −EMSGSIZE: it did not fit and is lost;
// −EMFILE: its descriptors did not fit into this process and it is lost. Received descriptors are FD_CLOEXEC.
// timeout_ms: 0 does not wait, −1 waits for ever.
int ReceiveMessage(int fd, void* buffer, size_t bytes, int timeout_ms, std::vector<int>* fds);

}  // namespace prefork::sys

#endif  // PREFORK_SYS_CHANNEL_H_
