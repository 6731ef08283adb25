-- The search index keeps no text of its own; its rows carry the products' numbers.
CREATE VIRTUAL TABLE product_search USING fts5(
  title, keywords, description,
  content='', contentless_delete=1, prefix='1 2 3', tokenize='unicode61 remove_diacritics 2'
);
CREATE TRIGGER product_search_added AFTER INSERT ON product_products BEGIN
  INSERT INTO product_search (rowid, title, keywords, description)
  VALUES (NEW.number, NEW.title, NEW.keywords, NEW.description);
END;
CREATE TRIGGER product_search_changed AFTER UPDATE OF title, keywords, description ON product_products BEGIN
  DELETE FROM product_search WHERE rowid = OLD.number;
  INSERT INTO product_search (rowid, title, keywords, description)
  VALUES (NEW.number, NEW.title, NEW.keywords, NEW.description);
END;
CREATE TRIGGER product_search_removed AFTER DELETE ON product_products BEGIN
  DELETE FROM product_search WHERE rowid = OLD.number;
END;
