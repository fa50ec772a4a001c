{
  "targets": [
    {
      "target_name": "prefork",
      # native/sources.txt lists what is written over the operating system alone; native/CMakeLists.txt reads it too.
      "sources": [
        "<!@(cat native/sources.txt)",
        "native/addon.cc",
        "<!@(ls native/bind/*.cc)"
      ],
      "include_dirs": [
        "<!(node -p \"require('node-addon-api').include_dir\")",
        "native"
      ],
      "defines": [
        "NAPI_VERSION=8",
        "NAPI_DISABLE_CPP_EXCEPTIONS",
        "NODE_ADDON_API_DISABLE_DEPRECATED",
        "PREFORK_VERSION=\"<!(node -p \"require('./package.json').version\")\"",
        "_GNU_SOURCE"
      ],
      "cflags": ["-Wall", "-Wextra", "-fvisibility=hidden"],
      "cflags_cc!": ["-std=gnu++14", "-std=gnu++17", "-std=gnu++20"],
      "cflags_cc": ["-std=gnu++17", "-fvisibility=hidden"],
      # fork() calls into the C library from a signal handler, where nothing may be looked up any more.
      "ldflags": ["-Wl,-z,now", "-Wl,--version-script=<(module_root_dir)/native/exports.map"],
      "xcode_settings": {
        "CLANG_CXX_LANGUAGE_STANDARD": "gnu++17",
        "GCC_SYMBOLS_PRIVATE_EXTERN": "YES",
        "MACOSX_DEPLOYMENT_TARGET": "11.0",
        "WARNING_CFLAGS": ["-Wall", "-Wextra"]
      }
    }
  ]
}
