#include "bind/args.h"

#include <math.h>

namespace prefork {

void Args::Fail(const char* name, const char* expected) {
  if (failed_) return;
  failed_ = true;
  if (env_.IsExceptionPending()) return;  // thrown by a getter or proxy of the caller's
  Napi::TypeError::New(env_, std::string(name) + " must be " + expected).ThrowAsJavaScriptException();
}

Napi::Function Args::Function(size_t index, const char* name) {
  if (!failed_ && info_[index].IsFunction()) return info_[index].As<Napi::Function>();
  Fail(name, "a function");
  return Napi::Function();
}

int64_t Args::AsInteger(Napi::Value value, const char* name, int64_t min, int64_t max) {
  if (failed_) return 0;
  if (value.IsNumber()) {
    double number = value.As<Napi::Number>().DoubleValue();
    if (number == trunc(number) && number >= static_cast<double>(min) && number <= static_cast<double>(max)) {
      return static_cast<int64_t>(number);
    }
  }
  std::string expected = "an integer from " + std::to_string(min) + " to " + std::to_string(max);
  Fail(name, expected.c_str());
  return 0;
}

bool Args::AsBool(Napi::Value value, const char* name) {
  if (!failed_ && value.IsBoolean()) return value.As<Napi::Boolean>().Value();
  Fail(name, "a boolean");
  return false;
}

std::string Args::AsBytes(Napi::Value value, const char* name, bool zeros) {
  if (!failed_ && value.IsString()) {
    std::string text = value.As<Napi::String>().Utf8Value();
    if (zeros || text.find('\0') == std::string::npos) return text;
  }
  Fail(name, zeros ? "a string" : "a string without zero bytes");
  return std::string();
}

std::vector<int> Args::AsInts(Napi::Value value, const char* name) {
  Napi::Array array = AsArray(value, name);
  std::vector<int> numbers;
  for (uint32_t i = 0; !failed_ && i < array.Length(); i++) numbers.push_back(AsInt(array.Get(i), name));
  return numbers;
}

std::vector<std::string> Args::AsStrings(Napi::Value value, const char* name) {
  Napi::Array array = AsArray(value, name);
  std::vector<std::string> strings;
  for (uint32_t i = 0; !failed_ && i < array.Length(); i++) strings.push_back(AsString(array.Get(i), name));
  return strings;
}

std::vector<std::pair<int, int>> Args::AsIntPairs(Napi::Value value, const char* name) {
  Napi::Array array = AsArray(value, name);
  std::vector<std::pair<int, int>> pairs;
  for (uint32_t i = 0; !failed_ && i < array.Length(); i++) {
    std::vector<int> pair = AsInts(array.Get(i), name);
    if (pair.size() != 2) Fail(name, "an array of pairs of integers");
    if (!failed_) pairs.emplace_back(pair[0], pair[1]);
  }
  return pairs;
}

Napi::Object Args::AsObject(Napi::Value value, const char* name) {
  if (!failed_ && value.IsObject()) return value.As<Napi::Object>();
  Fail(name, "an object");
  return Napi::Object();
}

Napi::Array Args::AsArray(Napi::Value value, const char* name) {
  if (!failed_ && value.IsArray()) return value.As<Napi::Array>();
  Fail(name, "an array");
  return Napi::Array();
}

std::optional<Napi::Value> Args::Optional(Napi::Object object, const char* name) {
  if (failed_) return std::nullopt;
  Napi::Value value = object.Get(name);
  if (env_.IsExceptionPending()) {
    Fail(name, "readable");
    return std::nullopt;
  }
  if (value.IsUndefined()) return std::nullopt;
  return value;
}

Napi::Value Args::Required(Napi::Object object, const char* name) {
  std::optional<Napi::Value> value = Optional(object, name);
  if (value) return *value;
  Fail(name, "given");
  return Napi::Value();
}

void Export(Napi::Object exports, const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
  exports.Set(name, Napi::Function::New(exports.Env(), function, name));
}

Napi::Value ToArray(Napi::Env env, const std::vector<int>& numbers) {
  Napi::Array array = Napi::Array::New(env, numbers.size());
  for (size_t i = 0; i < numbers.size(); i++) {
    array.Set(static_cast<uint32_t>(i), Napi::Number::New(env, numbers[i]));
  }
  return array;
}

}  // namespace prefork
