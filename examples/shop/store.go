package main

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"path/filepath"
	"sync"

	_ "modernc.org/sqlite" // registers the driver "sqlite"
)

// product is a row of the table of products.
type product struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Cents   int64  `json:"cents"`   // the price
	Version int64  `json:"version"` // 1, 2, 3, ...: counts the row's changes
}

// store is the source of truth: a SQLite database.
type store struct {
	db      *sql.DB
	writing sync.Mutex // SQLite takes one writer at a time; to queue here is cheaper than to poll for its lock

	// beforeCommit is told of every new version just before its commit starts.
	beforeCommit func(id string, version int64)
}

// openStore creates the database in folder dir and fills it with version 1 of the
// products ids. The caller closes it.
func openStore(ctx context.Context, dir string, ids []string, beforeCommit func(id string, version int64)) (*store, error) {
	options := url.Values{
		"_pragma": {"journal_mode(WAL)", "synchronous(NORMAL)", "busy_timeout(5000)"},
		"_txlock": {"immediate"},
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "shop.db")+"?"+options.Encode())
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(8)
	s := &store{db: db, beforeCommit: beforeCommit}
	if err := s.fill(ctx, ids); err != nil {
		db.Close()
		return nil, fmt.Errorf("filling the database: %w", err)
	}
	return s, nil
}

func (s *store) fill(ctx context.Context, ids []string) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	const schema = `CREATE TABLE products (
		id TEXT PRIMARY KEY, name TEXT NOT NULL, cents INTEGER NOT NULL, version INTEGER NOT NULL
	) WITHOUT ROWID`
	if _, err := tx.ExecContext(ctx, schema); err != nil {
		return err
	}
	insert, err := tx.PrepareContext(ctx, `INSERT INTO products VALUES (?, ?, ?, 1)`)
	if err != nil {
		return err
	}
	defer insert.Close()
	for i, id := range ids {
		if _, err := insert.ExecContext(ctx, id, "Product "+id, 100+i%9900); err != nil {
			return err
		}
		s.beforeCommit(id, 1)
	}
	return tx.Commit()
}

// product reads a row. There being none is sql.ErrNoRows.
func (s *store) product(ctx context.Context, id string) (p product, err error) {
	row := s.db.QueryRowContext(ctx, `SELECT id, name, cents, version FROM products WHERE id = ?`, id)
	err = row.Scan(&p.ID, &p.Name, &p.Cents, &p.Version)
	return p, err
}

// setPrice changes a price and returns the row as it now is. There being none is
// sql.ErrNoRows.
func (s *store) setPrice(ctx context.Context, id string, cents int64) (p product, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return product{}, err
	}
	defer tx.Rollback()
	row := tx.QueryRowContext(ctx, `UPDATE products SET cents = ?, version = version + 1 WHERE id = ?
		RETURNING id, name, cents, version`, cents, id)
	if err := row.Scan(&p.ID, &p.Name, &p.Cents, &p.Version); err != nil {
		return product{}, err
	}
	s.beforeCommit(p.ID, p.Version)
	return p, tx.Commit()
}

func (s *store) close() error { return s.db.Close() }
