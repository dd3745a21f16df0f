package redistest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// onlyDocker hides redis-server, and skips the test, or with
// NEARCACHE_REQUIRE_DOCKER=1 fails it, where no container can be started.
func onlyDocker(t *testing.T) {
	t.Helper()
	bin := t.TempDir()
	for _, name := range []string{"docker", "sh", "cat"} {
		path, err := exec.LookPath(name)
		if err == nil {
			err = os.Symlink(path, filepath.Join(bin, name))
		}
		if err != nil {
			t.Log(err)
		}
	}
	t.Setenv("PATH", bin)
	t.Setenv("NEARCACHE_REDIS", "")
	t.Setenv("NEARCACHE_REDIS_SERVER", "")
	if _, err := findImage(); err != nil {
		if os.Getenv("NEARCACHE_REQUIRE_DOCKER") == "1" {
			t.Fatal(err)
		}
		t.Skip("SKIPPED: no container can be started: " + err.Error())
	}
}

// TestContainer: without a redis-server binary the server is in a container,
// which is gone after the test.
func TestContainer(t *testing.T) {
	onlyDocker(t)
	var addr string
	t.Run("use", func(t *testing.T) {
		s := Start(t)
		addr = s.Addr()
		if !s.Real() {
			t.Fatal("not a real server")
		}
		info, err := s.Client(t).InfoMap(context.Background(), "server").Result()
		if err != nil || info["Server"]["process_id"] != "1" {
			t.Fatalf("not a server in a container: %v, %v", info, err)
		}
	})
	c := (&Server{addr: addr}).Client(t)
	if c.Ping(context.Background()).Err() == nil {
		t.Fatal("the server outlived its test")
	}
}

const orphan = "NEARCACHE_TEST_ORPHAN"

// TestOrphan: a container does not outlive a process that is killed.
func TestOrphan(t *testing.T) {
	if os.Getenv(orphan) == "1" {
		name := RemoveAtEnd(t)
		image, _ := findImage()
		if _, err := Docker(context.Background(), nil, "run", "--detach", "--name", name, image); err != nil {
			t.Fatal(err)
		}
		fmt.Println("container", name)
		self, _ := os.FindProcess(os.Getpid())
		_ = self.Kill()
		select {}
	}
	onlyDocker(t)
	cmd := exec.Command(os.Args[0], "-test.run", "^TestOrphan$")
	cmd.Env = append(os.Environ(), orphan+"=1")
	out, _ := cmd.CombinedOutput() // it is killed: an error
	_, name, found := strings.Cut(string(out), "container ")
	if !found {
		t.Fatalf("the process started no container: %s", out)
	}
	name = strings.TrimSpace(name)
	eventually(t, func() error {
		left, err := Docker(context.Background(), nil, "ps", "--all", "--quiet", "--filter", "name="+name)
		if err == nil && left != "" {
			err = fmt.Errorf("container %s is still there", name)
		}
		return err
	})
}
