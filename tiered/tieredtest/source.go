package tieredtest

import (
	"context"
	"fmt"
	"sync"

	"github.com/nearcache/nearcache"
)

// source is the database behind the caches of a check.
type source struct {
	mu    sync.Mutex
	rows  map[string]string
	held  map[string]<-chan struct{}
	count int
}

func newSource() *source {
	return &source{rows: make(map[string]string), held: make(map[string]<-chan struct{})}
}

func (s *source) put(key, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows[key] = value
}

// hold has later loads of key read what there is, and answer when until is closed;
// nil ends that.
func (s *source) hold(key string, until <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[key] = until
}

// loads returns the number of loads so far.
func (s *source) loads() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

func (s *source) load(ctx context.Context, key string) (string, error) {
	s.mu.Lock()
	s.count++
	value, found := s.rows[key]
	until := s.held[key]
	s.mu.Unlock()
	if until != nil {
		select {
		case <-until:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	if !found {
		return "", fmt.Errorf("row %s: %w", key, nearcache.ErrNotFound)
	}
	return value, nil
}
