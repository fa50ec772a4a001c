// Shared memory without a name: memfd, seals, mappings.
#ifndef PREFORK_SYS_SHM_H_
#define PREFORK_SYS_SHM_H_

#include <stddef.h>
#include <stdint.h>

namespace prefork::sys {

// An anonymous file of that size, zeroed, FD_CLOEXEC, sealable. −errno.
int CreateMemfd(const char* name, int64_t bytes);

enum Seals : unsigned { kSealSeal = 1, kSealShrink = 2, kSealGrow = 4, kSealWrite = 8 };
// −EPERM: sealed against more seals; −EBUSY: kSealWrite while it is mapped to be written.
int AddSeals(int fd, unsigned seals);

// MAP_SHARED. 0 and `*address`, or −errno. −EINVAL: offset not on a page, no bytes; −ENXIO: beyond the end of the file,
// where a touch of the memory would be a SIGBUS.
int MapShared(int fd, int64_t offset, size_t bytes, bool writable, void** address);
int Unmap(void* address, size_t bytes);

}  // namespace prefork::sys

#endif  // PREFORK_SYS_SHM_H_
