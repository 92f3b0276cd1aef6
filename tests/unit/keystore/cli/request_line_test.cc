#include "keystore/cli/request_line.h"

#include <gtest/gtest.h>

#include <string>

namespace coffer {
namespace {

const std::string kRefusal =
    R"({"time":"2026-11-22T18:00:00.000001Z","store":"00ff","event":"refuse","decision":"deny",)"
    R"("right":"list,write","scope":"/llama","path":"/llama/w","identity":{"uid":7,"gid":8,"pid":9,)"
    R"("selectors":["unix:uid:7","unix:gid:8","unix:uid:7"]},"grant":4,"reason":"denied by a grant"})";

std::string with(std::string line, const std::string& what, const std::string& instead) {
  const std::size_t at = line.find(what);
  EXPECT_NE(at, std::string::npos) << what;
  return line.replace(at, what.size(), instead);
}

TEST(RequestLine, SaysWhoAskedForWhat) {
  const auto line = parse_request_line(kRefusal);
  ASSERT_TRUE(line.has_value());
  EXPECT_EQ(line->time, "2026-11-22T18:00:00.000001Z");
  EXPECT_EQ(line->store, "00ff");
  EXPECT_EQ(line->scope, "/llama");
  EXPECT_EQ(line->path, "/llama/w");
  EXPECT_FALSE(line->allowed);
  EXPECT_EQ(to_string(line->request.rights), "list,write");
  EXPECT_EQ(line->request.refused_by, GrantId{4});
  EXPECT_EQ(line->request.selectors, (std::vector{Selector::unix_gid(8), Selector::unix_uid(7)}));
}

TEST(RequestLine, OfAReleaseHasNoGrantThatRefused) {
  const auto line = parse_request_line(with(kRefusal, "refuse", "release"));
  ASSERT_TRUE(line.has_value());
  EXPECT_TRUE(line->allowed);
  EXPECT_FALSE(line->request.refused_by.has_value());
}

TEST(RequestLine, ToleratesWhatItDoesNotKnow) {
  EXPECT_TRUE(parse_request_line(with(kRefusal, "{\"time\"", R"({"index":9,"new":[{}],"time")")));
  const auto unknown = parse_request_line(with(kRefusal, "unix:gid:8", "moon:phase:full"));
  ASSERT_TRUE(unknown.has_value());
  EXPECT_EQ(unknown->request.selectors, std::vector{Selector::unix_uid(7)});
  for (const char* identity :
       {"[]", "7", R"({"selectors":"unix:uid:7"})", R"({"selectors":[7]})"}) {
    const std::size_t begin = kRefusal.find(R"({"uid")");
    const std::size_t end = kRefusal.find('}', begin) + 1;
    const auto line =
        parse_request_line(with(kRefusal, kRefusal.substr(begin, end - begin), identity));
    ASSERT_TRUE(line.has_value()) << identity;
    EXPECT_TRUE(line->request.selectors.empty()) << identity;
  }
}

TEST(RequestLine, IsNothingElse) {
  for (std::size_t length = 0; length < kRefusal.size(); ++length)
    EXPECT_FALSE(parse_request_line(kRefusal.substr(0, length))) << length;
  EXPECT_FALSE(parse_request_line(kRefusal.substr(5))) << "the second half of a torn one";
  EXPECT_FALSE(parse_request_line(with(kRefusal, "refuse", "admin")));
  EXPECT_FALSE(parse_request_line(with(kRefusal, "\"/llama\"", "7")));
  EXPECT_FALSE(parse_request_line(with(kRefusal, "list,write", "fly")));
  EXPECT_FALSE(parse_request_line(with(kRefusal, "\"right\"", "\"left\"")));
  EXPECT_FALSE(parse_request_line("[]"));
  EXPECT_FALSE(parse_request_line("\xff\xfe"));
}

}  // namespace
}  // namespace coffer
