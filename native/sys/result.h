// The convention of this directory: a value ≥ 0, or −errno. Nothing throws.
#ifndef PREFORK_SYS_RESULT_H_
#define PREFORK_SYS_RESULT_H_

#include <errno.h>

namespace prefork::sys {

// What a system call returned, as value or −errno.
template <typename T>
inline T Checked(T returned) {
  return returned < 0 ? static_cast<T>(-errno) : returned;
}

// Runs `call` again for as long as a signal interrupts it.
template <typename F>
inline auto Uninterrupted(F call) -> decltype(call()) {
  for (;;) {
    auto returned = call();
    if (returned >= 0 || errno != EINTR) return returned;
  }
}

}  // namespace prefork::sys

#endif  // PREFORK_SYS_RESULT_H_
