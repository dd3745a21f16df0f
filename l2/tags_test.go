package l2

import (
	"slices"
	"testing"
	"time"
)

// TestTagMarkers: an invalidation writes its number, and lives as long as values do.
func TestTagMarkers(t *testing.T) {
	s, c, _ := open(t, 1)
	ctx := t.Context()
	before := read(t, s, "k", "").Record
	r, err := s.InvalidateTags(ctx, 0, []string{"a", "b"})
	if err != nil || r.Seq <= before.Seq || r.Tagged != r.Seq {
		t.Fatalf("%+v after %+v, %v", r, before, err)
	}
	c.Set(ctx, "{test}:t:junk", "junk", 0)
	got, err := s.Markers(ctx, 0, []string{"b", "none", "junk", "a"})
	if err != nil || !slices.Equal(got, []uint64{r.Seq, 0, Unreadable, r.Seq}) {
		t.Fatalf("markers %v, %v; invalidated as %d", got, err, r.Seq)
	}
	if life := c.PTTL(ctx, "{test}:t:a").Val(); life > r.Life || life < r.Life-time.Minute {
		t.Fatalf("the marker lives %v, values %v", life, r.Life)
	}
	for _, c := range []struct{ ask, want time.Duration }{{time.Hour, r.Life}, {2 * r.Life, 2 * r.Life}, {time.Hour, 2 * r.Life}} {
		if r, err := s.Prolong(ctx, 0, c.ask); err != nil || r.Life != c.want {
			t.Fatalf("Prolong to %v: %v, %v; want %v", c.ask, r.Life, err, c.want)
		}
	}
}
