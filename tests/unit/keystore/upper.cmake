# Tests of keystore/access, audit, keyring, broker and cli.

add_library(coffer_keystore_test_support STATIC
  ${PROJECT_SOURCE_DIR}/tests/support/keystore_audit_lines.cc
  ${PROJECT_SOURCE_DIR}/tests/support/keystore_fake_kms.cc
  ${PROJECT_SOURCE_DIR}/tests/support/keystore_process.cc
  ${PROJECT_SOURCE_DIR}/tests/support/keystore_raw_database.cc
  ${PROJECT_SOURCE_DIR}/tests/support/keystore_store.cc
  ${PROJECT_SOURCE_DIR}/tests/support/privileges.cc)
target_link_libraries(coffer_keystore_test_support
  PUBLIC coffer_test_support coffer_keyring nlohmann_json::nlohmann_json
  PRIVATE SQLite::SQLite3)

coffer_unit_test(unit_access
  SOURCES access/cover_test.cc access/decide_random_test.cc access/explain_test.cc access/grant_test.cc
          access/proposal_random_test.cc access/proposal_test.cc access/selector_kinds_test.cc access/selector_test.cc
  LINKS coffer_access
  SINGLE_THREADED)

coffer_unit_test(unit_keyring
  SOURCES keyring/audit_rows_test.cc keyring/dek_pool_test.cc keyring/keyring_cache_test.cc keyring/keyring_lifetime_test.cc keyring/master_keys_test.cc
          keyring/keyring_concurrency_test.cc keyring/keyring_create_test.cc
          keyring/keyring_deks_test.cc keyring/keyring_format_test.cc keyring/keyring_policy_test.cc
          keyring/keyring_readmit_test.cc keyring/keyring_rollback_test.cc keyring/keyring_states_test.cc keyring/newest_seen_test.cc keyring/scope_flags_test.cc
          keyring/keyring_tamper_deks_test.cc keyring/keyring_tamper_policy_test.cc keyring/rows_test.cc
  LINKS coffer_keystore_test_support)

coffer_unit_test(unit_audit
  SOURCES audit/audit_log_faults_test.cc audit/audit_log_test.cc audit/checkpoint_test.cc
          audit/log_verifier_test.cc audit/log_writer_test.cc audit/merkle_tree_test.cc
          ${PROJECT_SOURCE_DIR}/tests/support/vectors.cc
  LINKS coffer_audit coffer_keystore_test_support)

coffer_unit_test(unit_broker
  SOURCES broker/checkpointer_test.cc broker/explain_path_test.cc broker/key_broker_live_test.cc broker/key_broker_test.cc broker/policy_test.cc
          broker/recorder_test.cc
  LINKS coffer_broker coffer_keystore_test_support)

coffer_unit_test(unit_cli
  SOURCES cli/environment_pin_test.cc cli/line_tail_test.cc cli/request_line_test.cc cli/values_test.cc
          ${PROJECT_SOURCE_DIR}/tests/support/memory_scan.cc
  LINKS coffer_cli)
