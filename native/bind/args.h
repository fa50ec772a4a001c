// Arguments from JavaScript, checked. The first that is wrong throws a TypeError; what is read after it is empty.
#ifndef PREFORK_BIND_ARGS_H_
#define PREFORK_BIND_ARGS_H_

#include <napi.h>
#include <stdint.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace prefork {

constexpr int64_t kMaxSafeInteger = (int64_t{1} << 53) - 1;

class Args {
 public:
  explicit Args(const Napi::CallbackInfo& info) : info_(info), env_(info.Env()) {}

  bool failed() const { return failed_; }
  Napi::Env env() const { return env_; }
  // Throws a TypeError of which `name` is the subject.
  void Fail(const char* name, const char* expected);

  int Int(size_t index, const char* name) { return AsInt(info_[index], name); }
  int64_t Integer(size_t index, const char* name, int64_t min, int64_t max) {
    return AsInteger(info_[index], name, min, max);
  }
  bool Bool(size_t index, const char* name) { return AsBool(info_[index], name); }
  std::string String(size_t index, const char* name) { return AsString(info_[index], name); }
  std::vector<int> Ints(size_t index, const char* name) { return AsInts(info_[index], name); }
  std::vector<std::string> Strings(size_t index, const char* name) { return AsStrings(info_[index], name); }
  Napi::Object Object(size_t index, const char* name) { return AsObject(info_[index], name); }
  Napi::Function Function(size_t index, const char* name);

  int AsInt(Napi::Value value, const char* name) { return static_cast<int>(AsInteger(value, name, INT32_MIN, INT32_MAX)); }
  int64_t AsInteger(Napi::Value value, const char* name, int64_t min, int64_t max);
  bool AsBool(Napi::Value value, const char* name);
  // Refuses zero bytes, at which the operating system would end the string.
  std::string AsString(Napi::Value value, const char* name) { return AsBytes(value, name, false); }
  std::string AsBytes(Napi::Value value, const char* name, bool zeros);
  std::vector<int> AsInts(Napi::Value value, const char* name);
  std::vector<std::string> AsStrings(Napi::Value value, const char* name);
  std::vector<std::pair<int, int>> AsIntPairs(Napi::Value value, const char* name);
  Napi::Object AsObject(Napi::Value value, const char* name);
  Napi::Array AsArray(Napi::Value value, const char* name);

  // A property; empty where it is absent or undefined.
  std::optional<Napi::Value> Optional(Napi::Object object, const char* name);
  Napi::Value Required(Napi::Object object, const char* name);

 private:
  const Napi::CallbackInfo& info_;
  Napi::Env env_;
  bool failed_ = false;
};

// Puts a function on `exports`.
void Export(Napi::Object exports, const char* name, Napi::Value (*function)(const Napi::CallbackInfo&));

Napi::Value ToArray(Napi::Env env, const std::vector<int>& numbers);

}  // namespace prefork

#endif  // PREFORK_BIND_ARGS_H_
