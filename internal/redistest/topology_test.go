package redistest

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// TestCluster: keys of all nodes are served, and a dead master's by its replica.
func TestCluster(t *testing.T) {
	c := StartCluster(t)
	client := c.Client(t)
	ctx := context.Background()
	served := func() error {
		for i := range 100 { // over all three masters
			if err := client.Set(ctx, fmt.Sprint("k", i), "v", 0).Err(); err != nil {
				return err
			}
		}
		return nil
	}
	if err := served(); err != nil {
		t.Fatal(err)
	}
	c.Masters[0].Kill(t)
	eventually(t, func() error {
		client.ReloadState(ctx) // by itself go-redis asks again after a minute
		return served()
	})
	if role := c.Replicas[0].Client(t).Do(ctx, "role").Val().([]any)[0]; role != "master" {
		t.Fatalf("the dead master's replica is %v", role)
	}
}

// TestSentinel: a replica takes over from a dead master.
func TestSentinel(t *testing.T) {
	s := StartSentinel(t)
	client := s.Client(t)
	ctx := context.Background()
	if err := client.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	s.Master.Kill(t)
	eventually(t, func() error { return client.Set(ctx, "k", "w", 0).Err() })
}

func eventually(t *testing.T, what func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := until(ctx, what); err != nil {
		t.Fatal(err)
	}
}
