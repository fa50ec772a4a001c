// What the running kernel can, found out by asking it.
#ifndef PREFORK_SYS_FEATURES_H_
#define PREFORK_SYS_FEATURES_H_

#include <string>

namespace prefork::sys {

struct Features {
  bool pidfd;         // pidfd_open(2): Linux 5.3
  bool waitid_pidfd;  // waitid(P_PIDFD): Linux 5.4
  bool close_range;   // close_range(2) with CLOSE_RANGE_CLOEXEC: Linux 5.11
  bool memfd;         // memfd_create(2): Linux 3.17
  std::string platform;
  std::string libc;
};

Features DetectFeatures();

}  // namespace prefork::sys

#endif  // PREFORK_SYS_FEATURES_H_
