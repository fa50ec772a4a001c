#include "sys/children.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mutex>
#include <string>
#include <unordered_set>

#include "sys/fd.h"
#include "sys/proc_text.h"
#include "sys/result.h"

namespace prefork::sys {

namespace {

struct Registry {
  std::mutex mutex;
  std::unordered_set<pid_t> pids;
};

// Never destroyed: a thread may still spawn while the process ends.
Registry& TheRegistry() {
  static Registry* registry = new Registry;
  return *registry;
}

#ifdef __linux__

// All of a /proc file. −errno where it cannot be read.
int ReadFile(const std::string& path, std::string* text) {
  Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.ok()) return -errno;
  char buffer[4096];
  text->clear();
  for (;;) {
    ssize_t got = Uninterrupted([&] { return read(fd.get(), buffer, sizeof(buffer)); });
    if (got < 0) return -errno;
    if (got == 0) return 0;
    text->append(buffer, static_cast<size_t>(got));
  }
}

// Calls `visit` with each entry of a directory whose name is a number.
template <typename F>
int ForEachNumber(const char* path, F visit) {
  DIR* directory = opendir(path);
  if (directory == nullptr) return -errno;
  while (struct dirent* entry = readdir(directory)) {
    if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9') visit(entry->d_name);
  }
  closedir(directory);
  return 0;
}

// Without CONFIG_PROC_CHILDREN: every process whose parent is this one.
int ListChildrenByParent(std::vector<pid_t>* pids) {
  return ForEachNumber("/proc", [&](const char* name) {
    std::string stat;
    if (ReadFile(std::string("/proc/") + name + "/stat", &stat) < 0) return;  // gone already
    if (ParseParent(stat.c_str()) == getpid()) pids->push_back(atoi(name));
  });
}

#endif  // __linux__

}  // namespace

void RegisterChild(pid_t pid) {
  Registry& registry = TheRegistry();
  std::lock_guard<std::mutex> lock(registry.mutex);
  registry.pids.insert(pid);
}

void ForgetChild(pid_t pid) {
  Registry& registry = TheRegistry();
  std::lock_guard<std::mutex> lock(registry.mutex);
  registry.pids.erase(pid);
}

bool IsOwnChild(pid_t pid) {
  Registry& registry = TheRegistry();
  std::lock_guard<std::mutex> lock(registry.mutex);
  return registry.pids.count(pid) != 0;
}

std::vector<pid_t> OwnChildren() {
  Registry& registry = TheRegistry();
  std::lock_guard<std::mutex> lock(registry.mutex);
  return std::vector<pid_t>(registry.pids.begin(), registry.pids.end());
}

void ForgetAllChildren() {
  Registry& registry = TheRegistry();
  std::lock_guard<std::mutex> lock(registry.mutex);
  registry.pids.clear();
}

int ListChildren(std::vector<pid_t>* pids) {
#ifdef __linux__
  pids->clear();
  bool readable = true;
  int error = ForEachNumber("/proc/self/task", [&](const char* name) {
    std::string list;
    int failure = ReadFile(std::string("/proc/self/task/") + name + "/children", &list);
    if (failure == -ENOENT) {
      // A thread that has just ended has none; with the thread alive it is the kernel that lacks the file.
      readable = readable && access((std::string("/proc/self/task/") + name).c_str(), F_OK) != 0;
    }
    if (failure < 0) return;
    const char* at = list.c_str();
    for (pid_t pid = NextPid(&at); pid >= 0; pid = NextPid(&at)) pids->push_back(pid);
  });
  if (error < 0) return error;
  return readable ? 0 : ListChildrenByParent(pids);
#else
  (void)pids;
  return -ENOSYS;
#endif
}

}  // namespace prefork::sys
