package nearcache_test

import (
	"context"
	"testing"

	"github.com/nearcache/nearcache"
)

// TestTagsAreNotDue: that a value names tags is no reason to load it again.
func TestTagsAreNotDue(t *testing.T) {
	cache, err := nearcache.New(nearcache.Config[string]{
		Load: func(context.Context, string) (string, error) { return "v", nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	var info nearcache.Info
	for info.Source != nearcache.FromL1 {
		if _, err := cache.Get(t.Context(), "k", nearcache.WithTags("red"), nearcache.WithInfo(&info)); err != nil {
			t.Fatal(err)
		}
	}
	if x, err := cache.Explain(t.Context(), "k"); err != nil || x.Next != "L1 hit" {
		t.Errorf("%v, next Get: %s", err, x.Next)
	}
}
