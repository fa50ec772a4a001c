// Feeds every parser of native/sys/proc_text.cc, and ProcLines, with the same bytes. AddressSanitizer sees what they read and write.
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "sys/proc.h"
#include "sys/proc_text.h"

namespace {

using namespace prefork::sys;

void Check(bool holds) {
  if (!holds) abort();
}

bool IsWithin(const char* part, const char* text) { return part >= text && part <= text + strlen(text); }

void ParseLine(char* line) {
  Mapping mapping;
  if (ParseMapping(line, &mapping)) {
    Check(mapping.start <= mapping.end && strlen(mapping.permissions) == 4 && IsWithin(mapping.name, line));
  }
  EpollTarget target;
  ParseEpollTarget(line, &target);
  const char* path = ParseUnheardPath(line);
  if (path != nullptr) Check(IsWithin(path, line));
}

void ParseText(const char* text) {
  ThreadActivity activity;
  ParseActivity(text, &activity);
  ThreadStatus status;
  ParseThreadStatus(text, &status);
  Check(strnlen(status.name, sizeof(status.name)) < sizeof(status.name));
  EventfdInfo info;
  ParseEventfdInfo(text, &info);
  ParseParent(text);
  const char* at = text;
  for (const char* before = at; NextPid(&at) >= 0; before = at) Check(at > before && IsWithin(at, text));
}

// Lines as they come from a file, which are parsed too.
void ReadLines(const uint8_t* data, size_t size) {
  static const int file = memfd_create("fuzz", MFD_CLOEXEC);
  static const std::string path = "/proc/self/fd/" + std::to_string(file);
  if (ftruncate(file, 0) < 0 || pwrite(file, data, size, 0) != static_cast<ssize_t>(size)) return;
  ProcLines lines(path.c_str());
  while (const char* line = lines.Next()) ParseLine(std::string(line).data());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // Of exactly its size, so that a read beyond its end is seen.
  char* text = static_cast<char*>(malloc(size + 1));
  memcpy(text, data, size);
  text[size] = '\0';
  ParseText(text);
  ParseLine(text);
  free(text);
  ReadLines(data, size);
  return 0;
}
