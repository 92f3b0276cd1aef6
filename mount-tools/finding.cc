#include "mount-tools/finding.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "keystore/cli/exit_code.h"

namespace coffer {
namespace {

constexpr std::size_t kRangesShown = 8;

/// README, "Exit codes".
constexpr std::array kGravestFirst = {
    Code::kCorrupt,        Code::kMoved,          Code::kRolledBack,     Code::kNotFound,
    Code::kRevoked,        Code::kUnknownVersion, Code::kKeyUnavailable, Code::kKmsKeyMissing,
    Code::kKmsKeyDisabled, Code::kKmsDenied,      Code::kKmsUnavailable, Code::kExpired,
    Code::kDenied};

std::string_view advice(const Finding& finding) {
  switch (finding.kind) {
    case FindingKind::kFile:
      if (finding.cause == Code::kRolledBack)
        return "restore the newer one from a backup, or, if it was put back on purpose: coffer "
               "accept STORE:PATH";
      if (finding.beyond_use)
        return "restore it from a backup; coffer verify --repair sets it aside";
      if (!finding.lost.empty())
        return "restore it from a backup, or copy out the rest: coffer salvage STORE:PATH DST";
      return next_step(finding.cause);
    case FindingKind::kDirectory:
      if (finding.cause == Code::kCorrupt)
        return "restore its .coffer.dir from a backup; the files below are out of reach till then";
      return next_step(finding.cause);
    case FindingKind::kForeign:
      return finding.beyond_use
                 ? "remove it if it is not wanted; coffer verify --repair sets it aside"
                 : "put it back where it was, or copy it out: coffer salvage --backing "
                   "STORE:BACKING DST";
    case FindingKind::kMissingFile:
      return "restore the file from a backup, unless it was deleted; coffer verify --repair "
             "records it as deleted";
    case FindingKind::kMissingKey:
      return "restore the keystore that has it from a backup";
    case FindingKind::kPutBack:
      return "remove it, or, if it was put back on purpose: coffer accept STORE:PATH";
    case FindingKind::kAttributes:
      if (finding.cause == Code::kCorrupt)
        return "restore its sidecar in .coffer/xattrs from a backup, or put a copy in its place";
      return next_step(finding.cause);
    case FindingKind::kOrphan:
    case FindingKind::kTail:
    case FindingKind::kJournal:
    case FindingKind::kSidecar:
      return "harmless; coffer verify --repair clears it away";
    case FindingKind::kLeftover:
      return "harmless; the next read-write mount clears it away";
    case FindingKind::kQuarantined:
      return "copy out what is left: coffer salvage --backing STORE:BACKING DST; then remove it";
    default:
      return next_step(finding.cause);
  }
}

}  // namespace

std::string_view to_string(FindingKind kind) {
  switch (kind) {
    case FindingKind::kFile:
      return "file";
    case FindingKind::kDirectory:
      return "directory";
    case FindingKind::kSymlink:
      return "symlink";
    case FindingKind::kForeign:
      return "foreign";
    case FindingKind::kMissingFile:
      return "missing-file";
    case FindingKind::kMissingKey:
      return "missing-key";
    case FindingKind::kPutBack:
      return "put-back";
    case FindingKind::kAttributes:
      return "attributes";
    case FindingKind::kOrphan:
      return "orphan";
    case FindingKind::kLeftover:
      return "leftover";
    case FindingKind::kTail:
      return "tail";
    case FindingKind::kQuarantined:
      return "quarantined";
    case FindingKind::kJournal:
      return "journal";
    case FindingKind::kSidecar:
      return "sidecar";
  }
  return "unknown";
}

std::string next_step(const Finding& finding) {
  if (finding.message.find("; ") != std::string::npos) return {};
  return std::string(advice(finding));
}

std::string describe(const std::vector<ByteRange>& ranges) {
  std::string text;
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    bytes += ranges[i].end - ranges[i].begin;
    if (i >= kRangesShown) continue;
    if (i > 0) text += ", ";
    text += std::to_string(ranges[i].begin) + "-" + std::to_string(ranges[i].end - 1);
  }
  if (ranges.size() > kRangesShown)
    text += " and " + std::to_string(ranges.size() - kRangesShown) + " more ranges";
  return text + " (" + std::to_string(bytes) + " bytes)";
}

nlohmann::ordered_json to_json(const std::vector<ByteRange>& ranges) {
  auto list = nlohmann::ordered_json::array();
  for (const ByteRange& range : ranges) {
    list.push_back({{"offset", range.begin}, {"length", range.end - range.begin}});
  }
  return list;
}

nlohmann::ordered_json to_json(const Finding& finding) {
  nlohmann::ordered_json row;
  if (!finding.path.empty()) row["path"] = finding.path;
  if (!finding.backing.empty()) row["backing"] = finding.backing;
  row["kind"] = to_string(finding.kind);
  row["cause"] = to_string(finding.cause);
  if (finding.file.has_value()) row["file"] = finding.file->hex();
  row["message"] = finding.message;
  if (!finding.lost.empty()) row["lost"] = to_json(finding.lost);
  if (!finding.unvouched.empty()) row["unvouched"] = to_json(finding.unvouched);
  if (finding.repaired.empty()) {
    row["next_step"] = next_step(finding);
  } else {
    row["repaired"] = finding.repaired;
  }
  return row;
}

std::string to_line(const Finding& finding) {
  const bool harmless = finding.kind >= FindingKind::kOrphan;
  std::string line(harmless ? to_string(finding.kind) : to_string(finding.cause));
  line += ": ";
  std::string place = finding.path;
  if (place.empty() && finding.kind != FindingKind::kMissingFile) place = finding.backing;
  if (!place.empty() && !finding.message.starts_with(place)) line += place + ": ";
  line += finding.message;
  if (!finding.lost.empty()) line += "; lost: " + describe(finding.lost);
  if (!finding.unvouched.empty()) line += "; perhaps not current: " + describe(finding.unvouched);
  if (!finding.repaired.empty()) return line + "; " + finding.repaired;
  const std::string next = next_step(finding);
  return next.empty() ? line : line + "; " + next;
}

int exit_code(const std::vector<Finding>& findings) {
  const Finding* gravest = nullptr;
  const auto rank = [](const Finding& finding) {
    return std::find(kGravestFirst.begin(), kGravestFirst.end(), finding.cause);
  };
  for (const Finding& finding : findings) {
    if (!finding.repaired.empty()) continue;
    if (gravest == nullptr || rank(finding) < rank(*gravest)) gravest = &finding;
  }
  return gravest == nullptr ? 0 : exit_code(gravest->cause);
}

}  // namespace coffer
