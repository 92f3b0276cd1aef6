#include <array>

#include "tests/fuzz/attribute_targets.h"
#include "tests/fuzz/audit_targets.h"
#include "tests/fuzz/config_targets.h"
#include "tests/fuzz/content_targets.h"
#include "tests/fuzz/format_targets.h"
#include "tests/fuzz/keystore_targets.h"
#include "tests/fuzz/kmip_targets.h"
#include "tests/fuzz/names_targets.h"

namespace coffer::fuzz {

std::span<const Target> all_targets() {
  static constexpr std::array kTargets = {
      Target{"header", fuzz_header, header_seeds},
      Target{"header_slots", fuzz_header_slots, header_slots_seeds, 2},
      Target{"tree_node", fuzz_tree_node, tree_node_seeds},
      Target{"directory_record", fuzz_directory_record, directory_record_seeds},
      Target{"geometry", fuzz_geometry, geometry_seeds},
      Target{"journal_parts", fuzz_journal_parts, journal_parts_seeds, 2},
      Target{"journal", fuzz_journal, journal_seeds, 20},
      Target{"xattr_set", fuzz_xattr_set, xattr_set_seeds},
      Target{"xattr_sidecar", fuzz_xattr_sidecar, xattr_sidecar_seeds, 10},
      Target{"acl", fuzz_acl, acl_seeds},
      Target{"lock_note", fuzz_lock_note, lock_note_seeds, 10},
      Target{"text_encodings", fuzz_text_encodings, text_encodings_seeds},
      Target{"stored_name", fuzz_stored_name, stored_name_seeds, 4},
      Target{"stored_target", fuzz_stored_target, stored_target_seeds, 4},
      Target{"sealed_directory", fuzz_sealed_directory, sealed_directory_seeds, 2},
      Target{"box", fuzz_box, box_seeds, 2},
      Target{"wrapped_key", fuzz_wrapped_key, wrapped_key_seeds, 4},
      Target{"key_file", fuzz_key_file, key_file_seeds, 8},
      Target{"passphrase_parameters", fuzz_passphrase_parameters, passphrase_parameters_seeds},
      Target{"tpm2_record", fuzz_tpm2_record, tpm2_record_seeds},
      Target{"kmip_answer", fuzz_kmip_answer, kmip_answer_seeds},
      Target{"policy_rows", fuzz_policy_rows, policy_rows_seeds, 10},
      Target{"keystore_file", fuzz_keystore_file, keystore_file_seeds, 100},
      Target{"audit_lines", fuzz_audit_lines, audit_lines_seeds, 4},
      Target{"audit_head", fuzz_audit_head, audit_head_seeds, 2},
      Target{"audit_side_file", fuzz_audit_side_file, audit_side_file_seeds},
      Target{"audit_checkpoint", fuzz_audit_checkpoint, audit_checkpoint_seeds, 10},
      Target{"store_config", fuzz_store_config, store_config_seeds, 10},
      Target{"thread_status", fuzz_thread_status, thread_status_seeds},
      Target{"cgroups", fuzz_cgroups, cgroups_seeds},
      Target{"mount_table", fuzz_mount_table, mount_table_seeds, 2},
      Target{"selector", fuzz_selector, selector_seeds},
      Target{"policy_path", fuzz_policy_path, policy_path_seeds},
      Target{"values", fuzz_values, values_seeds}};
  return kTargets;
}

}  // namespace coffer::fuzz
