# Tests of keystore/base, crypto, db and kms.

coffer_unit_test(unit_base
  SOURCES base/atomic_file_faults_test.cc base/atomic_file_test.cc base/bytes_test.cc
          base/clock_test.cc base/ids_test.cc base/mutex_test.cc base/result_test.cc
          base/unique_fd_test.cc
          ${PROJECT_SOURCE_DIR}/tests/support/privileges.cc
  LINKS coffer_base)

coffer_unit_test(unit_crypto
  SOURCES crypto/aead_bounds_test.cc crypto/aead_engine_test.cc crypto/aead_test.cc
          crypto/aead_vectors_test.cc crypto/box_test.cc crypto/digest_test.cc crypto/hpke_test.cc
          crypto/kdf_test.cc crypto/locked_heap_limits_test.cc crypto/locked_heap_test.cc crypto/random_test.cc
          crypto/p256_public_key_test.cc crypto/rsa_public_key_test.cc crypto/rsa_signature_test.cc
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
  SOURCES kms/aws_answers_test.cc kms/aws_credentials_test.cc kms/aws_kms_test.cc kms/aws_server.cc
          kms/aws_session_test.cc kms/aws_sigv4_test.cc kms/aws_trouble.cc kms/azure_answers_test.cc
          kms/azure_kms_test.cc kms/azure_login_test.cc kms/azure_place_test.cc kms/azure_server.cc
          kms/azure_trouble.cc kms/bearer_token_test.cc kms/bounded_kms_test.cc kms/crc32c_test.cc
          kms/gcp_answers_test.cc kms/gcp_kms_test.cc kms/gcp_login_test.cc kms/gcp_server.cc
          kms/gcp_trouble.cc kms/hsm_trouble.cc kms/http_client_test.cc kms/key_context_test.cc
          kms/key_file_test.cc kms/kmip_batch_test.cc kms/kmip_client_test.cc kms/kmip_kms_test.cc
          kms/kmip_server.cc kms/kmip_trouble.cc kms/kms_check_test.cc kms/kms_trouble_page_test.cc
          kms/kms_trouble_test.cc kms/local_trouble.cc kms/master_kms_contract.cc kms/passphrase_test.cc
          kms/patient_kms_test.cc kms/pkcs11_test.cc kms/secret_text_test.cc kms/secrets_in_memory_test.cc
          kms/soft_token.cc kms/soft_tpm.cc kms/stand_in_process.cc kms/tpm2_bus_test.cc
          kms/tpm2_record_test.cc kms/tpm2_test.cc kms/tpm_trouble.cc kms/transit_server.cc kms/ttlv_test.cc
          kms/vault_batch_test.cc kms/vault_kms_test.cc kms/vault_session_test.cc kms/vault_trouble.cc
          ${PROJECT_SOURCE_DIR}/tests/support/keystore_fake_kms.cc
          ${PROJECT_SOURCE_DIR}/tests/support/memory_scan.cc
          ${PROJECT_SOURCE_DIR}/tests/support/privileges.cc
          ${PROJECT_SOURCE_DIR}/tests/support/vectors.cc
  LINKS coffer_kms PkgConfig::P11KIT nlohmann_json::nlohmann_json)
coffer_compile_alike_together(unit_kms)

# Loaded as a token's own library is: no part of an executable.
add_library(faulty_pkcs11 MODULE ${PROJECT_SOURCE_DIR}/tests/support/faulty_pkcs11.cc)
set_target_properties(faulty_pkcs11 PROPERTIES COMPILE_OPTIONS -fPIC LINK_OPTIONS "")
target_link_libraries(faulty_pkcs11 PRIVATE coffer_options PkgConfig::P11KIT)
add_dependencies(unit_kms faulty_pkcs11)
target_compile_definitions(unit_kms PRIVATE COFFER_FAULTY_PKCS11="$<TARGET_FILE:faulty_pkcs11>")
target_compile_definitions(unit_kms PRIVATE COFFER_KMS_PAGE="${PROJECT_SOURCE_DIR}/keystore/KMS.md")
target_compile_definitions(unit_kms PRIVATE COFFER_TRANSIT_SERVER="${PROJECT_SOURCE_DIR}/tests/support/transit_server.py")
target_compile_definitions(unit_kms PRIVATE COFFER_AZURE_SERVER="${PROJECT_SOURCE_DIR}/tests/support/azure_kms_server.py")
target_compile_definitions(unit_kms PRIVATE COFFER_GCP_SERVER="${PROJECT_SOURCE_DIR}/tests/support/gcp_kms_server.py")
target_compile_definitions(unit_kms PRIVATE COFFER_AWS_KMS_SERVER="${PROJECT_SOURCE_DIR}/tests/support/aws_kms_server.py")
target_compile_definitions(unit_kms PRIVATE COFFER_KMIP_SERVER="${PROJECT_SOURCE_DIR}/tests/support/kmip_server.py")
