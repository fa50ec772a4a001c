#include <poll.h>
#include <uv.h>

#include <memory>

#include "bind/args.h"
#include "bind/bind.h"

namespace prefork {

namespace {

// Calls JavaScript when the event loop has nothing left to do at once and nothing is under way: its next step would be
// to block. Keeps the loop alive until it is stopped.
class IdleWatch {
 public:
  IdleWatch(Napi::Env env, Napi::Function on_idle)
      : env_(env),
        on_idle_(Napi::Persistent(on_idle)),
        context_(std::make_unique<Napi::AsyncContext>(env, "prefork.IdleWatch")) {}
  IdleWatch(const IdleWatch&) = delete;
  IdleWatch& operator=(const IdleWatch&) = delete;

  int Start(const std::shared_ptr<IdleWatch>& self) {
    uv_loop_t* loop = nullptr;
    napi_get_uv_event_loop(env_, &loop);
    // Neither can fail.
    uv_prepare_init(loop, &prepare_);
    uv_idle_init(loop, &again_);
    prepare_.data = this;
    again_.data = this;
    self_ = self;
    napi_add_env_cleanup_hook(env_, Cleanup, this);
    // Runs just before the loop would poll.
    return uv_prepare_start(&prepare_, [](uv_prepare_t* handle) { static_cast<IdleWatch*>(handle->data)->OnPrepare(); });
  }

  void Stop() {
    if (self_ == nullptr) return;
    napi_remove_env_cleanup_hook(env_, Cleanup, this);
    closing_ = std::move(self_);
    auto on_closed = [](uv_handle_t* handle) { static_cast<IdleWatch*>(handle->data)->OnClosed(); };
    uv_close(reinterpret_cast<uv_handle_t*>(&prepare_), on_closed);
    uv_close(reinterpret_cast<uv_handle_t*>(&again_), on_closed);
  }

 private:
  static void Cleanup(void* watch) { static_cast<IdleWatch*>(watch)->Stop(); }

  void OnClosed() {
    if (--open_handles_ > 0) return;
    std::shared_ptr<IdleWatch> last = std::move(closing_);
    Napi::HandleScope scope(env_);
    on_idle_.Reset();
    context_.reset();
  }

  bool Idle() const {
    uv_loop_t* loop = prepare_.loop;
    // Requests: thread-pool work, connects, writes.
    if (loop->active_reqs.count != 0 || uv_backend_timeout(loop) == 0) return false;
    struct pollfd events = {uv_backend_fd(loop), POLLIN, 0};
    return poll(&events, 1, 0) == 0;
  }

  void OnPrepare() {
    uv_idle_stop(&again_);
    if (!Idle()) {
      // A request that ends wakes the loop. All else is over in one more turn, which it might not take by itself: new
      // descriptors are registered only in the poll that then blocks.
      if (prepare_.loop->active_reqs.count == 0) uv_idle_start(&again_, [](uv_idle_t*) {});
      return;
    }
    Napi::HandleScope scope(env_);
    std::shared_ptr<IdleWatch> alive = self_;  // the callback may stop it
    on_idle_.MakeCallback(env_.Global(), {}, *context_);
    if (env_.IsExceptionPending()) {
      Napi::Error error = env_.GetAndClearPendingException();
      napi_fatal_exception(env_, error.Value());
    }
  }

  Napi::Env env_;
  uv_prepare_t prepare_;
  int open_handles_ = 2;
  uv_idle_t again_;  // active: the loop does not block
  Napi::FunctionReference on_idle_;
  std::unique_ptr<Napi::AsyncContext> context_;
  std::shared_ptr<IdleWatch> self_;     // until Stop()
  std::shared_ptr<IdleWatch> closing_;  // until libuv has let go of the handle
};

Napi::Value WatchIdle(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Args args(info);
  Napi::Function on_idle = args.Function(0, "onIdle");
  if (args.failed()) return env.Undefined();
  auto watch = std::make_shared<IdleWatch>(env, on_idle);
  int error = watch->Start(watch);
  if (error < 0) return Napi::Number::New(env, error);
  Napi::Object object = Napi::Object::New(env);
  object.Set("stop", Napi::Function::New(env, [watch](const Napi::CallbackInfo&) { watch->Stop(); }, "stop"));
  return object;
}

Napi::Value ActiveRequests(const Napi::CallbackInfo& info) {
  uv_loop_t* loop = nullptr;
  napi_get_uv_event_loop(info.Env(), &loop);
  return Napi::Number::New(info.Env(), loop->active_reqs.count);
}

}  // namespace

void InitIdle(Napi::Env, Napi::Object exports) {
  Export(exports, "activeRequests", ActiveRequests);
  Export(exports, "watchIdle", WatchIdle);
}

}  // namespace prefork
