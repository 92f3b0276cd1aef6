#include "keystore/audit/log_line.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "keystore/audit/checkpoint.h"

namespace coffer {
namespace {

using nlohmann::json;

constexpr std::string_view kMacField = R"(,"mac":")";
constexpr std::string_view kEnd = R"("})";
constexpr std::size_t kMacText = 22;  // base64url of 16 bytes
constexpr std::string_view kNumber = R"(,"n":)";
constexpr std::string_view kTorn = R"(,"torn":)";

ChainValue shortened(const Digest& digest) {
  ChainValue value{};
  std::copy_n(digest.begin(), value.size(), value.begin());
  return value;
}

Result<ChainValue> parse_chain_value(std::string_view text) {
  const ByteVector bytes = TRY(from_base64url(text));
  ChainValue value{};
  if (bytes.size() != value.size()) return Error{Code::kInvalid, 0, "not a chain value"};
  std::copy(bytes.begin(), bytes.end(), value.begin());
  return value;
}

/// Takes `FIELD digits` off the end of `text`; digits as a number is printed, no others.
std::optional<std::uint64_t> take_number(std::string_view& text, std::string_view field) {
  const std::size_t last = text.find_last_not_of("0123456789");
  if (last == std::string_view::npos) return std::nullopt;
  const std::string_view digits = text.substr(last + 1);
  const std::string_view before = text.substr(0, last + 1);
  if (digits.empty() || (digits[0] == '0' && digits.size() > 1) || !before.ends_with(field)) {
    return std::nullopt;
  }
  std::uint64_t number = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (parsed.ec != std::errc()) return std::nullopt;
  text = before.substr(0, before.size() - field.size());
  return number;
}

Error no_first_line() { return {Code::kInvalid, 0, "not the first line of an audit log's file"}; }

Result<LogId> parse_log_id(const std::string& text) {
  const ByteVector bytes = TRY(from_hex(text));
  if (bytes.size() != sizeof(LogId::bytes)) return no_first_line();
  return LogId::from(bytes);
}

Result<LogHead> head_from(const json& log, std::uint64_t n) {
  LogHead head;
  head.id = TRY(parse_log_id(log.at("id").get<std::string>()));
  head.prev = TRY(parse_chain_value(log.at("prev").get<std::string>()));
  std::vector<Digest> roots;
  for (const json& text : log.at("tree")) {
    const ByteVector bytes = TRY(from_base64(text.get<std::string>()));
    if (bytes.size() != sizeof(Digest)) return no_first_line();
    std::copy(bytes.begin(), bytes.end(), roots.emplace_back().begin());
  }
  head.tree = TRY(MerkleTree::from(n, std::move(roots)));
  if (const auto after = log.find("after"); after != log.end()) {
    head.after = EndedLog{.id = TRY(parse_log_id(after->at("id").get<std::string>())),
                          .lines = after->at("lines").get<std::uint64_t>(),
                          .why = after->at("why").get<std::string>()};
  }
  return head;
}

}  // namespace

ChainValue LineMac::start(LogId id) const {
  return shortened(key_.mac({as_bytes("coffer/1/audit-log"), id.view()}));
}

ChainValue LineMac::next(const ChainValue& before, Bytes body) const {
  return shortened(key_.mac({before, body}));
}

ChainValue LineMac::of_side_file(std::string_view text) const {
  return shortened(key_.mac({as_bytes("coffer/1/audit-tree"), as_bytes(text)}));
}

std::optional<LineEnd> parse_line_end(Bytes line) {
  std::string_view text = as_text(line);
  if (!text.ends_with(kEnd)) return std::nullopt;
  text.remove_suffix(kEnd.size());
  if (text.size() < kMacText + kMacField.size()) return std::nullopt;
  const auto mac = parse_chain_value(text.substr(text.size() - kMacText));
  text.remove_suffix(kMacText);
  if (!mac || !text.ends_with(kMacField)) return std::nullopt;
  text.remove_suffix(kMacField.size());
  LineEnd end;
  end.mac = *mac;
  end.body = as_bytes(text);
  const auto n = take_number(text, kNumber);
  if (!n) return std::nullopt;
  end.n = *n;
  end.torn = take_number(text, kTorn).value_or(0);
  return end;
}

std::string number_fields(std::uint64_t torn, std::uint64_t n) {
  std::string text;
  if (torn > 0) text.append(kTorn).append(std::to_string(torn));
  return text.append(kNumber).append(std::to_string(n));
}

std::string mac_field(const ChainValue& mac) {
  return std::string(kMacField).append(to_base64url(mac)).append(kEnd);
}

std::string head_field(const LogHead& head) {
  nlohmann::ordered_json log = {{"id", head.id.hex()}, {"prev", to_base64url(head.prev)}};
  log["tree"] = nlohmann::ordered_json::array();
  for (const Digest& root : head.tree.roots()) log["tree"].push_back(to_base64(root));
  if (head.after) {
    log["after"] = {
        {"id", head.after->id.hex()}, {"lines", head.after->lines}, {"why", head.after->why}};
  }
  return R"(,"log":)" + log.dump();
}

Result<LogHead> claimed_head(Bytes line) {
  const auto end = parse_line_end(line);
  const json parsed = json::parse(line.begin(), line.end(), nullptr, false);
  if (!end || !parsed.is_object() || !parsed.contains("log")) return no_first_line();
  try {
    return head_from(parsed.at("log"), end->n);
  } catch (const json::exception&) {
    return no_first_line();
  }
}

Result<LogHead> parse_head(Bytes line, const LineMac& mac) {
  LogHead head = TRY(claimed_head(line));
  const auto end = parse_line_end(line);
  if (mac.next(head.prev, end->body) != end->mac) {
    return Error{Code::kCorrupt, 0, "the first line does not hold"};
  }
  return head;
}

LineWalk::Found LineWalk::step(Bytes line) {
  const auto end = parse_line_end(line);
  if (end && end->n == next_ + pending_ && end->torn == pending_ && pending_ <= kMostTorn &&
      mac_->next(pending_chain_, end->body) == end->mac) {
    leaves_.assign(torn_leaves_.begin(), torn_leaves_.end());
    leaves_.push_back(leaf_hash(line));
    accept(*end);
    return Found::kHolds;
  }
  const bool goes_on = end && pending_ > 0 &&
                       ((stated_ && mac_->next(*stated_, end->body) == end->mac) ||
                        mac_->next(chain_, end->body) == end->mac);
  if (goes_on) {
    accept(*end);
    return Found::kDamage;
  }
  pending_chain_ = mac_->next(pending_chain_, line);
  if (++pending_ <= kMostTorn) torn_leaves_.push_back(leaf_hash(line));
  stated_ = end ? std::optional(end->mac) : std::nullopt;
  return Found::kPending;
}

void LineWalk::accept(const LineEnd& end) {
  next_ = end.n + 1;
  chain_ = end.mac;
  pending_chain_ = end.mac;
  pending_ = 0;
  stated_.reset();
  torn_leaves_.clear();
}

}  // namespace coffer
