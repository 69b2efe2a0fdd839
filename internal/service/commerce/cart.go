package commerce

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/stoa-lms/stoa/internal/auth"
	"github.com/stoa-lms/stoa/internal/fault"
	"github.com/stoa-lms/stoa/internal/idempotency"
	"github.com/stoa-lms/stoa/internal/money/moneypb"
	"github.com/stoa-lms/stoa/internal/pg"
	"github.com/stoa-lms/stoa/internal/rpc"
	"github.com/stoa-lms/stoa/internal/service/commerce/commercepb"
)

// cart is what somebody means to buy.
type cart struct {
	items    []wanted
	currency string
	revision int64
}

// readCart returns an account's cart, an empty one when there is none.
func readCart(ctx context.Context, q pg.Querier, account, lock string) (cart, error) {
	var c cart
	var raw []byte
	err := q.QueryRow(ctx, `SELECT items, currency, revision FROM cart WHERE account_id = $1 `+lock, account).Scan(&raw, &c.currency, &c.revision)
	if pg.NoRows(err) {
		return cart{}, nil
	}
	if err != nil {
		return cart{}, fmt.Errorf("cart: %w", err)
	}
	return c, json.Unmarshal(raw, &c.items)
}

// cartMessage returns a cart with what is in it at the prices of this moment.
func (s *Service) cartMessage(ctx context.Context, account string, c cart) (*commercepb.Cart, error) {
	m := &commercepb.Cart{Currency: c.currency, Etag: strconv.FormatInt(c.revision, 10)}
	if len(c.items) == 0 {
		return m, nil
	}
	on, err := s.shelfOf(ctx, s.DB, account, c.items, nil, s.now(), "items")
	if err != nil {
		return nil, err
	}
	courses, _ := named(c.items)
	if on.entitled, err = s.entitled(ctx, account, wholeSale(courses, on.bundles)); err != nil {
		return nil, err
	}
	key, err := s.Vault.Key(ctx, account)
	if err != nil {
		return nil, err
	}
	for i, w := range c.items {
		one := &commercepb.PricedItem{Item: &commercepb.CartItem{CourseId: w.CourseID, BundleId: w.BundleID, Kind: w.Kind, Quantity: w.Quantity}}
		if one.Item.Gift, err = (gift{FromName: w.FromName, Note: w.Note}).note(key); err != nil {
			return nil, fmt.Errorf("note in the cart of %s: %w", account, err)
		}
		currency := c.currency
		if currency == "" {
			currency = on.currency(w)
		}
		lines, err := on.price(c.items[i:i+1], currency)
		if one.Problem = fault.CodeOf(err); err == nil {
			list, total := totals(lines)
			one.Problem, one.List, one.Price = "", &moneypb.Money{Amount: list, Currency: currency}, &moneypb.Money{Amount: total, Currency: currency}
		} else if fault.KindOf(err) == fault.Internal {
			return nil, err
		}
		// What is not for sale has no name here: it may be hidden.
		if o := on.offers[w.CourseID]; o.forSale() {
			one.Title = o.Title
		}
		if b := on.bundles[w.BundleID]; b.forSale(on.offers) {
			one.Title = b.Title
		}
		m.Items = append(m.Items, one)
	}
	return m, nil
}

// GetCart implements the contract.
func (h *checkoutServer) GetCart(ctx context.Context, _ *commercepb.GetCartRequest) (*commercepb.Cart, error) {
	me := auth.From(ctx).Account
	c, err := readCart(ctx, h.service.DB, me, "")
	if err != nil {
		return nil, err
	}
	return h.service.cartMessage(ctx, me, c)
}

// SetCart implements the contract.
func (h *checkoutServer) SetCart(ctx context.Context, req *commercepb.SetCartRequest) (*commercepb.Cart, error) {
	s, me := h.service, auth.From(ctx).Account
	list, err := items(req.GetItems())
	if err != nil {
		return nil, err
	}
	// The answer has what was written to who gets a gift: the version alone is kept with
	// the key of the call.
	kept, err := idempotency.Do(ctx, s.DB, req, func(tx *pg.Tx) (*commercepb.Cart, error) {
		tx.Exempt("a cart is a note of its owner's, and holds nothing")
		// The row is made first, so that two who fill the first cart meet in it.
		if _, err := tx.Exec(ctx, `
			INSERT INTO cart (account_id, items, currency, revision, updated_at) VALUES ($1, '[]', '', 0, $2) ON CONFLICT DO NOTHING`, me, s.now()); err != nil {
			return nil, err
		}
		c, err := readCart(ctx, tx, me, "FOR UPDATE")
		if err != nil {
			return nil, err
		}
		if err := rpc.Match(ctx, strconv.FormatInt(c.revision, 10)); err != nil {
			return nil, err
		}
		if err := s.sealNotes(ctx, tx, me, req.GetItems(), list); err != nil {
			return nil, err
		}
		raw, err := json.Marshal(list)
		if err != nil {
			return nil, err
		}
		_, err = tx.Exec(ctx, `UPDATE cart SET items = $2, currency = $3, revision = revision + 1, updated_at = $4 WHERE account_id = $1`,
			me, raw, req.GetCurrency(), s.now())
		return &commercepb.Cart{Etag: strconv.FormatInt(c.revision+1, 10)}, err
	})
	if err != nil {
		return nil, err
	}
	if list, err = items(req.GetItems()); err != nil {
		return nil, err
	}
	out, err := s.cartMessage(ctx, me, cart{items: list, currency: req.GetCurrency()})
	if err != nil {
		return nil, err
	}
	for i, item := range req.GetItems() {
		out.Items[i].Item.Gift = item.GetGift()
	}
	out.Etag = kept.GetEtag()
	return out, nil
}
