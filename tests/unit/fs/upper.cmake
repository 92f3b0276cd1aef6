# Tests of fs/vfs and fs/fuse.

# A whole store to test on, and those who work on it.
add_library(coffer_store_test_support STATIC
  ${PROJECT_SOURCE_DIR}/tests/support/store_paths.cc
  ${PROJECT_SOURCE_DIR}/tests/support/store_tree.cc
  ${PROJECT_SOURCE_DIR}/tests/support/store_whole.cc)
target_link_libraries(coffer_store_test_support
  PUBLIC coffer_fs_test_support coffer_keystore_test_support coffer_fuse)

coffer_unit_test(unit_vfs
  SOURCES vfs/access_test.cc vfs/acl_test.cc vfs/after_crash_test.cc vfs/attributes_test.cc vfs/audience_test.cc vfs/background_test.cc vfs/close_lines_test.cc vfs/directories_test.cc vfs/faults_test.cc
          vfs/files_test.cc vfs/follow_test.cc vfs/group_watch_test.cc vfs/inspect_test.cc
          vfs/links_test.cc vfs/lock_test.cc vfs/names_test.cc vfs/rename_test.cc vfs/retire_later_test.cc vfs/strict_test.cc vfs/tamper_test.cc vfs/unlink_test.cc vfs/views_test.cc vfs/withdrawal_test.cc
          vfs/xattrs_test.cc
  LINKS coffer_store_test_support)

coffer_unit_test(unit_file_locks
  SOURCES vfs/file_locks_test.cc vfs/range_locks_test.cc
  LINKS coffer_vfs)

coffer_unit_test(unit_fuse
  SOURCES fuse/errno_map_test.cc fuse/lock_operations_test.cc fuse/mount_table_test.cc fuse/serve_test.cc
  LINKS coffer_store_test_support
  SINGLE_THREADED)

coffer_unit_test(unit_request_loop
  SOURCES fuse/request_loop_test.cc
  LINKS coffer_fuse)
