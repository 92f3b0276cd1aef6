# Tests of keystore/base, crypto, db and kms.

coffer_unit_test(unit_base
  SOURCES base/atomic_file_faults_test.cc base/atomic_file_test.cc base/bytes_test.cc
          base/clock_test.cc base/ids_test.cc base/mutex_test.cc base/result_test.cc
          base/unique_fd_test.cc
          ${PROJECT_SOURCE_DIR}/tests/support/privileges.cc
  LINKS coffer_base)

coffer_unit_test(unit_crypto
  SOURCES crypto/aead_bounds_test.cc crypto/aead_engine_test.cc crypto/aead_test.cc
          crypto/aead_vectors_test.cc crypto/box_test.cc crypto/digest_test.cc crypto/kdf_test.cc
          crypto/locked_heap_limits_test.cc crypto/locked_heap_test.cc crypto/random_test.cc
          crypto/secret_bytes_test.cc crypto/signature_test.cc crypto/siv_test.cc
          ${PROJECT_SOURCE_DIR}/tests/support/privileges.cc
          ${PROJECT_SOURCE_DIR}/tests/support/vectors.cc
  LINKS coffer_crypto nlohmann_json::nlohmann_json)

coffer_unit_test(unit_db
  SOURCES db/database_media_test.cc db/database_open_test.cc db/database_planted_test.cc
          db/database_query_test.cc
          db/database_settings_test.cc db/database_sharing_test.cc
          ${PROJECT_SOURCE_DIR}/tests/support/privileges.cc
  LINKS coffer_db)

coffer_unit_test(unit_kms
  SOURCES kms/key_context_test.cc kms/key_file_test.cc kms/master_kms_contract.cc
          kms/passphrase_test.cc kms/secrets_in_memory_test.cc
          ${PROJECT_SOURCE_DIR}/tests/support/memory_scan.cc
          ${PROJECT_SOURCE_DIR}/tests/support/privileges.cc
          ${PROJECT_SOURCE_DIR}/tests/support/vectors.cc
  LINKS coffer_kms)
