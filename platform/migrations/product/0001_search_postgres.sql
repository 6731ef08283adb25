-- Splits words and strips accents as SQLite's unicode61 tokenizer does, so that both engines find the same.
CREATE FUNCTION product_search_text(source text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $body$
  SELECT translate(lower(source),
    'àáâãäåāăąçćĉċčďèéêëēĕėęěĝğġģĥìíîïĩīĭįĵķĺļľñńņňòóôõöōŏőŕŗřśŝşšţťùúûüũūŭůűųŵýÿŷźżžÀÁÂÃÄÅÇÈÉÊËÌÍÎÏÑÒÓÔÕÖÙÚÛÜÝ!"#$%&''()*+,-./:;<=>?@[\]^_`{|}~–—’‘“”…·×½¼¾°',
    'aaaaaaaaacccccdeeeeeeeeegggghiiiiiiiijklllnnnnoooooooorrrssssttuuuuuuuuuuwyyyzzzaaaaaaceeeeiiiinooooouuuuy' || repeat(' ', 45))
$body$;
ALTER TABLE product_products ADD COLUMN search tsvector NOT NULL GENERATED ALWAYS AS (
  setweight(to_tsvector('simple'::regconfig, product_search_text(title)), 'A')
  || setweight(to_tsvector('simple'::regconfig, product_search_text(keywords)), 'B')
  || setweight(to_tsvector('simple'::regconfig, product_search_text(description)), 'C')
) STORED;
CREATE INDEX product_products_search ON product_products USING gin (search);
-- Balances and reservations are updated all the time and never in an indexed column's place.
ALTER TABLE product_stock SET (fillfactor = 50);
