#include "fs/identity/thread_status.h"

#include <algorithm>
#include <charconv>

namespace coffer {
namespace {

/// The text after `label` on the first line that begins with it.
std::optional<std::string_view> line_value(std::string_view text, std::string_view label) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    if (line.starts_with(label)) return line.substr(label.size());
    text.remove_prefix(std::min(line.size() + 1, text.size()));
  }
  return std::nullopt;
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

std::size_t numbers_of_thread(std::string_view text) {
  const auto line = line_value(text, "NSpid:");
  if (!line.has_value()) return 1;  // a kernel without namespaces
  const auto numbers = numbers_in<pid_t>(*line);
  return numbers.has_value() ? numbers->size() : 0;
}

std::optional<ThreadStatus> parse_thread_status(std::string_view text) {
  const auto tgid_text = line_value(text, "Tgid:");
  const auto groups_text = line_value(text, "Groups:");
  if (!tgid_text.has_value() || !groups_text.has_value()) return std::nullopt;
  const auto tgid = numbers_in<pid_t>(*tgid_text);
  auto groups = numbers_in<gid_t>(*groups_text);
  if (!tgid.has_value() || tgid->size() != 1 || tgid->front() <= 0 || !groups.has_value())
    return std::nullopt;
  // A thread of the kernel's has no memory of its own; since 6.8 a line says so as well.
  const auto kernel = line_value(text, "Kthread:");
  const bool without_program = !line_value(text, "VmSize:").has_value() ||
                               (kernel.has_value() && kernel->find('1') != kernel->npos);
  return ThreadStatus{
      .tgid = tgid->front(), .groups = std::move(*groups), .without_program = without_program};
}

}  // namespace coffer
