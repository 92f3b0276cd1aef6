#include "keystore/cli/values.h"

#include <gtest/gtest.h>
#include <stdio.h>

#include <array>
#include <string>
#include <utility>

namespace coffer {
namespace {

TEST(Printable, LeavesNothingThatATerminalWouldObey) {
  EXPECT_EQ(printable("/models/llama-3.1 (chat)"), "/models/llama-3.1 (chat)");
  EXPECT_EQ(printable("/mod\xc3\xa8les"), "/mod\xc3\xa8les");
  EXPECT_EQ(printable("/tmp/\x1b]0;x\a\n\x7f"), "/tmp/\\x1b]0;x\\x07\\x0a\\x7f");
  EXPECT_EQ(printable("\xc2\x9b[2J"), "\\xc2\\x9b[2J") << "C1, as UTF-8";
  EXPECT_EQ(printable("\xc2\xa0\xc2"), "\xc2\xa0\xc2");
  EXPECT_EQ(printable(std::string("a\0b", 3)), "a\\x00b");
}

TEST(ShellWord, IsQuotedOnlyIfItHasToBe) {
  for (const auto& [text, word] : {std::pair{"unix:uid:1000", "unix:uid:1000"},
                                   {"/srv/models", "/srv/models"},
                                   {"", "''"},
                                   {"a b", "'a b'"},
                                   {"$(reboot)", "'$(reboot)'"},
                                   {"it's", "'it'\\''s'"},
                                   {"~root", "'~root'"},
                                   {"a\nb", "$'a\\012b'"},
                                   {"'\\\x1b", "$'\\'\\\\\\033'"}}) {
    EXPECT_EQ(shell_word(text), word);
  }
}

TEST(ShellWord, MeansToBashWhatItWas) {
  std::string text;
  for (int byte = 1; byte < 256; ++byte) text += static_cast<char>(byte);
  for (const std::string& word :
       {text, text + text, std::string("\xc2\x85'\\n$x`y`!*?[a]{b}#;&|<>")}) {
    const std::string command =
        "LC_ALL=C bash -c \"$(cat <<'END'\nprintf %s " + shell_word(word) + "\nEND\n)\"";
    FILE* const pipe = ::popen(command.c_str(), "r");
    ASSERT_NE(pipe, nullptr);
    std::string out;
    std::array<char, 1024> part{};
    while (const std::size_t length = ::fread(part.data(), 1, part.size(), pipe))
      out.append(part.data(), length);
    ASSERT_EQ(::pclose(pipe), 0);
    EXPECT_EQ(out, word);
  }
}

}  // namespace
}  // namespace coffer
