# Tests of fs/format, backing, content, names and identity.

coffer_unit_test(unit_format
  SOURCES format/directory_record_test.cc format/geometry_layout_test.cc format/geometry_size_test.cc
          format/header_test.cc format/journal_test.cc format/tree_node_test.cc
          format/xattr_set_test.cc
  LINKS coffer_format
  SINGLE_THREADED)

add_library(coffer_fs_test_support STATIC ${PROJECT_SOURCE_DIR}/tests/support/fs_syscalls.cc)
target_link_libraries(coffer_fs_test_support PUBLIC coffer_test_support coffer_backing)

coffer_unit_test(unit_backing
  SOURCES backing/backing_dir_modes_test.cc backing/backing_dir_reader_test.cc
          backing/backing_dir_symlinks_test.cc backing/backing_dir_test.cc backing/backing_file_test.cc
          backing/replace_small_test.cc ${PROJECT_SOURCE_DIR}/tests/support/privileges.cc
  LINKS coffer_backing coffer_fs_test_support)

add_library(coffer_content_test_support STATIC ${PROJECT_SOURCE_DIR}/tests/support/fs_content.cc)
target_link_libraries(coffer_content_test_support PUBLIC coffer_fs_test_support coffer_content)

coffer_unit_test(unit_content
  SOURCES content/allocate_test.cc content/crash_test.cc content/crew_test.cc content/encrypted_file_faults_test.cc content/encrypted_file_model_test.cc
          content/encrypted_file_refresh_test.cc content/encrypted_file_refresh_threads_test.cc
          content/encrypted_file_rollback_test.cc content/encrypted_file_seek_test.cc
          content/encrypted_file_sync_test.cc content/encrypted_file_tamper_test.cc
          content/encrypted_file_test.cc content/encrypted_file_threads_test.cc content/golden_file_test.cc
          content/hash_tree_resize_test.cc content/hash_tree_test.cc content/header_slots_test.cc
          content/node_cache_test.cc content/nonces_and_buffers_test.cc content/salvage_test.cc
          ${PROJECT_SOURCE_DIR}/tests/support/vectors.cc
  LINKS coffer_content coffer_content_test_support)

coffer_unit_test(unit_names
  SOURCES names/golden_names_test.cc names/scope_names_test.cc names/stored_test.cc names/targets_test.cc
  LINKS coffer_names coffer_fs_test_support
  SINGLE_THREADED)

coffer_unit_test(unit_identity
  SOURCES identity/cgroup_test.cc identity/control_groups_test.cc identity/facts_test.cc identity/identity_resolver_test.cc
          identity/programs_test.cc identity/sources_test.cc
          ${PROJECT_SOURCE_DIR}/tests/support/privileges.cc
  LINKS coffer_identity)
