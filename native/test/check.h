// The whole of the tests' framework: TEST registers, CHECK counts failures, main() runs. After each test as many
// descriptors and children are left as before.
#ifndef PREFORK_TEST_CHECK_H_
#define PREFORK_TEST_CHECK_H_

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sstream>
#include <string>
#include <vector>

struct Test {
  const char* name;
  void (*body)();
};

inline std::vector<Test>& Tests() {
  static std::vector<Test> tests;
  return tests;
}

inline int& Failures() {
  static int failures = 0;
  return failures;
}

struct Registration {
  Registration(const char* name, void (*body)()) { Tests().push_back({name, body}); }
};

#define TEST(name)                                             \
  static void Test_##name();                                   \
  static Registration registration_##name(#name, Test_##name); \
  static void Test_##name()

inline void Report(const char* file, int line, const std::string& what) {
  Failures()++;
  fprintf(stderr, "%s:%d: %s\n", file, line, what.c_str());
}

#define CHECK(condition) \
  do {                   \
    if (!(condition)) Report(__FILE__, __LINE__, "not so: " #condition); \
  } while (0)

#define CHECK_EQ(a, b)                                                  \
  do {                                                                  \
    auto a_value = (a);                                                 \
    auto b_value = (b);                                                 \
    if (!(a_value == b_value)) {                                        \
      std::ostringstream text;                                          \
      text << #a " is " << a_value << ", not " #b ", " << b_value;      \
      Report(__FILE__, __LINE__, text.str());                           \
    }                                                                   \
  } while (0)

inline std::string OpenFds() {
  std::string list;
  DIR* directory = opendir("/proc/self/fd");
  if (directory == nullptr) return list;
  int own = dirfd(directory);
  while (struct dirent* entry = readdir(directory)) {
    if (entry->d_name[0] != '.' && atoi(entry->d_name) != own) list += std::string(entry->d_name) + " ";
  }
  closedir(directory);
  return list;
}

// All that is written to a descriptor until the last writer has closed it.
inline std::string ReadAll(int fd) {
  std::string text;
  char buffer[4096];
  for (;;) {
    ssize_t got = read(fd, buffer, sizeof(buffer));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return text;
    text.append(buffer, static_cast<size_t>(got));
  }
}

inline std::string ReadFileText(const char* path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  std::string text = ReadAll(fd);
  close(fd);
  return text;
}

// Runs `body` in a process of its own: for what cannot be undone (credentials, limits, filters). It fails as a test does.
template <typename F>
void InProcess(F body) {
  fflush(stderr);
  pid_t pid = fork();
  if (pid == 0) {
    int before = Failures();
    body();
    fflush(stderr);
    _exit(Failures() > before ? 1 : 0);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  if (status != 0) Report(__FILE__, __LINE__, "the process of its own ended with wait status " + std::to_string(status));
}

// A directory that is removed, with what is in it, at the end of the scope.
class TempDirectory {
 public:
  TempDirectory() {
    char path[] = "/tmp/prefork-test-XXXXXX";
    path_ = mkdtemp(path);
  }
  ~TempDirectory() {
    if (DIR* directory = opendir(path_.c_str())) {
      while (struct dirent* entry = readdir(directory)) unlink((path_ + "/" + entry->d_name).c_str());
      closedir(directory);
    }
    rmdir(path_.c_str());
  }
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;
  std::string operator/(const char* name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline void RunOne(const Test& test) {
  int failures = Failures();
  std::string before = OpenFds();
  test.body();
  std::string after = OpenFds();
  if (before != after) Report(test.name, 0, "descriptors before: " + before + "after: " + after);
  int status;
  if (waitpid(-1, &status, WNOHANG) >= 0 || errno != ECHILD) Report(test.name, 0, "a child is left");
  if (Failures() > failures) fprintf(stderr, "FAILED %s\n", test.name);
}

inline int RunAll() {
  alarm(100);  // whatever hangs
  for (const Test& test : Tests()) RunOne(test);
  printf("%s: %zu tests, %d failures\n", program_invocation_short_name, Tests().size(), Failures());
  return Failures() == 0 ? 0 : 1;
}

// A file with helpers for its children defines its own main.
#ifndef PREFORK_TEST_OWN_MAIN
int main() { return RunAll(); }
#endif

#endif  // PREFORK_TEST_CHECK_H_
