#include "fs/identity/thread_status.h"

#include <algorithm>
#include <charconv>

namespace coffer {
namespace {

/// The lines that say what is asked for, each without its label; as far as the text has them. Of
/// two with one label the first counts.
struct Lines {
  std::optional<std::string_view> tgid;
  std::optional<std::string_view> groups;
  std::optional<std::string_view> numbers;
  std::optional<std::string_view> kernel;
  std::optional<std::string_view> memory;
};

/// Takes the line if it has this label.
bool take(std::string_view line, std::string_view label, std::optional<std::string_view>& value) {
  if (!line.starts_with(label)) return false;
  if (!value.has_value()) value = line.substr(label.size());
  return true;
}

/// In one go, and no further than needed: the text is read with each request.
Lines lines_of(std::string_view text) {
  Lines lines;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    switch (line.empty() ? '\0' : line.front()) {
      case 'T':
        take(line, "Tgid:", lines.tgid);
        break;
      case 'G':
        take(line, "Groups:", lines.groups);
        break;
      case 'N':
        take(line, "NSpid:", lines.numbers);
        break;
      case 'K':
        take(line, "Kthread:", lines.kernel);
        break;
      case 'V':
        // Here the kernel has said all else (fs/proc/array.c: task_mem comes after those).
        if (take(line, "VmSize:", lines.memory)) return lines;
        break;
      default:
        break;
    }
    text.remove_prefix(std::min(line.size() + 1, text.size()));
  }
  return lines;
}

/// All of them, apart by blanks; nothing if there is anything else.
template <typename Number>
std::optional<std::vector<Number>> numbers_in(std::string_view text) {
  constexpr std::string_view kBlanks = " \t";
  std::vector<Number> numbers;
  while (true) {
    text.remove_prefix(std::min(text.find_first_not_of(kBlanks), text.size()));
    if (text.empty()) return numbers;
    const std::string_view word = text.substr(0, text.find_first_of(kBlanks));
    Number number{};
    const char* const end = word.data() + word.size();
    const auto parsed = std::from_chars(word.data(), end, number);
    if (parsed.ec != std::errc() || parsed.ptr != end) return std::nullopt;
    numbers.push_back(number);
    text.remove_prefix(word.size());
  }
}

}  // namespace

std::optional<ThreadStatus> parse_thread_status(std::string_view text) {
  const Lines lines = lines_of(text);
  if (!lines.tgid.has_value() || !lines.groups.has_value()) return std::nullopt;
  const auto tgid = numbers_in<pid_t>(*lines.tgid);
  auto groups = numbers_in<gid_t>(*lines.groups);
  const auto numbers = numbers_in<pid_t>(lines.numbers.value_or(""));
  if (!tgid.has_value() || tgid->size() != 1 || tgid->front() <= 0 || !groups.has_value() ||
      !numbers.has_value())
    return std::nullopt;
  // A thread of the kernel's has no memory of its own; since 6.8 a line says so as well.
  const bool without_program =
      !lines.memory.has_value() ||
      (lines.kernel.has_value() && lines.kernel->find('1') != std::string_view::npos);
  return ThreadStatus{.tgid = tgid->front(),
                      .groups = std::move(*groups),
                      .numbers = numbers->size(),
                      .without_program = without_program};
}

}  // namespace coffer
