// The frame of every program: arguments in, exit code out, and any failure as one line on stderr.
#pragma once

#include <cstdio>
#include <exception>
#include <iostream>
#include <new>
#include <string>
#include <string_view>

#include <CLI/CLI.hpp>

#include <nibble/core/error.hpp>
#include <nibble/core/function_ref.hpp>
#include <nibble/core/version.hpp>
#include <nibble/io/describe.hpp>

namespace nibble::example {

/// Prints "error: ..." and returns the exit code that goes with it.
inline int report_error(std::string_view message) {
  std::cout.flush();
  std::fprintf(stderr, "error: %s\n", printable(message, 4096).c_str());
  return 1;
}

/// Parses the arguments and runs `body`. Returns 0, also after --help and --version, or 1 after an
/// error.
inline int run_main(CLI::App& app, int argc, char** argv, FunctionRef<void()> body) {
  try {
    app.set_version_flag("--version", concat(app.get_name(), " ", library_version),
                         "Print nibble's version and exit");
    app.parse(argc, argv);
    body();
    if (!std::cout.flush()) fail("standard output: cannot be written");
    return 0;
  } catch (const CLI::Success& success) {
    return app.exit(success);
  } catch (const std::bad_alloc&) {
    return report_error("out of memory");
  } catch (const std::exception& error) {
    return report_error(error.what());
  }
}

}  // namespace nibble::example
