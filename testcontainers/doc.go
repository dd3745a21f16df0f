// Package testcontainers starts Redis and Valkey servers in containers for tests:
// a single server, a Redis Cluster, a master that sentinels watch. Each helper
// returns when its servers work together; the containers are removed when the test
// ends, or its process, however it ends. It needs the docker command and a shell.
//
// Where there is no Docker engine or no image, the test is skipped with a message
// that begins with "SKIPPED: "; with NEARCACHE_REQUIRE_DOCKER=1 it fails, but for an
// image of Valkey. The image is redis:7-alpine unless NEARCACHE_REDIS_IMAGE names
// another (for Valkey valkey/valkey:8-alpine and NEARCACHE_VALKEY_IMAGE). Where the
// default cannot be pulled, one is built of the redis-server (valkey-server) that
// is installed here.
package testcontainers
