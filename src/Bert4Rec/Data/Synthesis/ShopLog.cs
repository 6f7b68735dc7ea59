using System.Buffers;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Unicode;
using Bert4Rec.Configuration;
using Bert4Rec.Kernels;

namespace Bert4Rec.Data.Synthesis;

/// <summary>
/// The event log of a synthetic shop, in the order of time, as the real one is (October 2019 of a large shop): who buys also views and
/// carts, most visitors only look, much is without category or brand, and some rows stand there twice.
/// </summary>
/// <remarks>
/// <para>What the <see cref="Shop"/>'s customers buy has a category and a brand, always. Rows without are views, carts and purchases of
/// other products, which nothing depends on, so that cleaning leaves the shop's purchases and the bound of their oracle holds.</para>
/// <para>Two streams are merged: the customers' purchases, each with a view and a cart before it, from a queue of customers by the time of
/// their next event; and the visits, whose rows are spread evenly over the month and go to a few thousand visitors at a time. Memory
/// grows with the customers only.</para>
/// </remarks>
internal sealed class ShopLog
{
    // Counts of the real log.
    private const double RealRows = 42_448_764, RealPurchases = 742_849, RealCarts = 926_516, RealCleanPurchases = 549_446;
    private const double RealNoCode = 13_515_609, RealNoBrand = 6_117_080, RealIncomplete = 15_888_144, RealDuplicates = 30_220;
    private const double RealNoSession = 2, RealUsers = 3_022_290, RealSessions = 9_244_421, RealProducts = 166_794;

    private const uint VisitStream = 0x5409_0005, TimeStream = 0x5409_0006;
    private const long Month = 31 * 86_400;
    private const int Visitors = 4096, BufferSize = 1 << 20, LongestRow = 512;

    /// <summary>Seconds from a customer's view and cart to the purchase, less than half of the shortest time between two.</summary>
    private const int ViewBefore = 50, CartBefore = 20;

    private const int ShortestGap = 110;
    private const long FirstProduct = 1_000_000, FirstOtherProduct = 20_000_000, FirstUser = 512_000_000;
    private const long FirstCategory = 2_053_013_550_000_000_000, FirstOtherCategory = 2_060_000_000_000_000_000;

    private readonly Shop _shop;
    private readonly ShopParameters _parameters;
    private readonly int[] _lengths;
    private readonly long _rows;
    private readonly long _duplicates;
    private readonly int _otherProducts;

    /// <summary>Rows before each purchase of a customer: a view and a cart, or a view, or none, where there is no room for more.</summary>
    private readonly int _companions;

    /// <summary>[items] The values from product_id to price, as the log has them.</summary>
    private readonly byte[][] _items;

    private readonly ArrayBufferWriter<byte> _buffer = new(BufferSize + (2 * LongestRow));
    private long _written;
    private long _duplicated;
    private uint _sessions;

    internal ShopLog(Shop shop, ShopParameters parameters, int[] lengths, long rows)
    {
        _shop = shop;
        _parameters = parameters;
        _lengths = lengths;
        _rows = rows;
        _duplicates = (long)Math.Round(rows * RealDuplicates / RealRows);
        _otherProducts = (int)Math.Max(100, rows * RealProducts / RealRows);
        if (rows < parameters.Interactions + _duplicates)
        {
            throw new InputException(
                $"{rows} rows cannot hold {parameters.Interactions} purchases; ask for more --rows or fewer --interactions");
        }
        _companions = (int)Math.Clamp(((rows - _duplicates) / Math.Max(1, parameters.Interactions)) - 1, 0, 2);
        _items = [.. Enumerable.Range(0, shop.ItemCount).Select(item => Values(
            FirstProduct + item,
            FirstCategory + shop.CategoryOf(item),
            ShopNames.Category(shop.CategoryOf(item)).Replace(' ', '.'),
            ShopNames.Brand(shop.BrandOf(item)),
            ShopSynthesizer.PriceOf(shop, parameters, item)))];
    }

    /// <summary>A customer who has not bought everything yet.</summary>
    private sealed class Customer(int number, int length, PhiloxSequence random, PhiloxSequence times)
    {
        public readonly int Number = number;
        public readonly int[] Purchases = new int[length];
        public PhiloxSequence Random = random, Times = times;
        public int Bought;
        public long Time, LongestGap;
        public EventTypes Next = EventTypes.View;
        public uint Session;
    }

    private struct Visitor
    {
        public long User;
        public uint Session;
        public int RowsLeft;
    }

    /// <summary>A shop whose purchases are to the rows as in the real log.</summary>
    public static ShopParameters Fitting(long rows)
    {
        int interactions = (int)Math.Max(20, rows * RealCleanPurchases / RealRows);
        var usual = new ShopParameters();
        return usual with
        {
            Interactions = interactions,
            Users = (int)Math.Max(4, (long)interactions * usual.Users / usual.Interactions),
            Items = Math.Clamp(interactions / 25, 100, 20_000),
        };
    }

    /// <summary>Rows of a real log with so many purchases that cleaning keeps.</summary>
    public static long UsualRows(int interactions) => (long)Math.Round(interactions * RealRows / RealCleanPurchases);

    internal void Write(Stream stream, IProgress<ProgressUpdate>? progress)
    {
        _buffer.Write(Encoding.UTF8.GetBytes(string.Join(',', EventColumns.Names) + "\n"));
        long visitRows = _rows - _duplicates - (_parameters.Interactions * (1L + _companions));
        var queue = new PriorityQueue<Customer, (long Time, int Number)>();
        var visits = new Visits(this, visitRows);
        int arrived = 0;
        for (long n = 0; n < visitRows || queue.Count > 0 || arrived < _lengths.Length; Report(stream, progress))
        {
            long visit = n < visitRows ? ShopSynthesizer.Opening + (n * Month / visitRows) : long.MaxValue;
            long arrival = arrived < _lengths.Length ? Arrival(arrived) : long.MaxValue;
            long purchase = queue.TryPeek(out _, out var due) ? due.Time : long.MaxValue;
            if (arrival <= visit && arrival <= purchase)
            {
                Customer customer = Arrive(arrived++, arrival);
                queue.Enqueue(customer, (customer.Time, customer.Number));
            }
            else if (purchase <= visit)
            {
                Customer customer = queue.Dequeue();
                if (Advance(customer))
                    queue.Enqueue(customer, (customer.Time, customer.Number));
            }
            else
            {
                visits.WriteRow(visit);
                n++;
            }
        }
        Flush(stream);
    }

    /// <summary>Customers come one after the other during the first half of the month.</summary>
    private long Arrival(int customer) => ShopSynthesizer.Opening + (customer * (Month / 2) / _lengths.Length);

    private Customer Arrive(int number, long arrival)
    {
        int length = _lengths[number];
        var customer = new Customer(
            number,
            length,
            new PhiloxSequence(_parameters.Seed, ShopSynthesizer.CustomerStream, (uint)number),
            new PhiloxSequence(_parameters.Seed, TimeStream, (uint)number));
        customer.LongestGap = (ShopSynthesizer.Opening + Month - arrival) / (length + 1);
        customer.Time = arrival;
        BeginVisit(customer);
        return customer;
    }

    private void BeginVisit(Customer customer)
    {
        customer.Session = _sessions++;
        customer.Next = _companions > 0 ? EventTypes.View : EventTypes.Purchase;
        int item = _shop.Draw(customer.Purchases.AsSpan(0, customer.Bought), ref customer.Random);
        customer.Purchases[customer.Bought] = item;
    }

    /// <summary>Writes what the customer does next.</summary>
    /// <returns>Whether there is anything after it.</returns>
    private bool Advance(Customer customer)
    {
        WriteRow(
            customer.Time, customer.Next, _items[customer.Purchases[customer.Bought]], FirstUser + customer.Number, customer.Session, true);
        if (customer.Next == EventTypes.View)
        {
            customer.Next = _companions > 1 ? EventTypes.Cart : EventTypes.Purchase;
            customer.Time += _companions > 1 ? ViewBefore - CartBefore : ViewBefore;
            return true;
        }
        if (customer.Next == EventTypes.Cart)
        {
            customer.Next = EventTypes.Purchase;
            customer.Time += CartBefore;
            return true;
        }
        if (++customer.Bought == customer.Purchases.Length)
            return false;
        long gap = customer.LongestGap - ShortestGap;
        customer.Time += ShortestGap - ViewBefore + (gap > 0 ? customer.Times.NextBelow(gap) : 0);
        BeginVisit(customer);
        return true;
    }

    /// <summary>The rows of those who are no customers of the shop.</summary>
    private sealed class Visits
    {
        private readonly ShopLog _log;
        private readonly Visitor[] _visitors = new Visitor[Visitors];
        private readonly double _purchaseShare;
        private readonly double _cartShare;
        private readonly double _otherShare;
        private readonly long _users;
        private readonly long _rows;
        private readonly long _withoutSession;
        private PhiloxSequence _random;
        private uint _block;
        private long _row;

        public Visits(ShopLog log, long rows)
        {
            _log = log;
            _rows = Math.Max(1, rows);
            double purchases = log._parameters.Interactions * ((RealPurchases / RealCleanPurchases) - 1);
            _purchaseShare = Math.Min(0.25, purchases / _rows);
            _cartShare = (RealCarts - RealCleanPurchases) / RealRows;
            double incomplete = log._rows * RealIncomplete / RealRows / _rows;
            // Those purchases are all incomplete, or they would belong to the shop.
            _otherShare = Math.Clamp((incomplete - _purchaseShare) / (1 - _purchaseShare), 0, 1);
            _users = (long)Math.Max(1, log._rows * RealUsers / RealRows);
            _withoutSession = (long)Math.Round(log._rows * RealNoSession / RealRows);
        }

        public void WriteRow(long time)
        {
            const int DrawsABlock = 1 << 16;
            if (_row % DrawsABlock == 0)
                _random = new PhiloxSequence(_log._parameters.Seed, VisitStream, _block++);
            bool hasSession = _row * _withoutSession / _rows == (_row + 1) * _withoutSession / _rows;
            _row++;
            ref Visitor visitor = ref _visitors[_random.NextBelow(Visitors)];
            if (visitor.RowsLeft == 0)
            {
                visitor.User = FirstUser + _log._lengths.Length + _random.NextBelow(_users);
                visitor.Session = _log._sessions++;
                visitor.RowsLeft = 1 + (int)_random.NextBelow((long)((2 * RealRows / RealSessions) - 1));
            }
            visitor.RowsLeft--;
            double kind = _random.NextUnit();
            EventTypes type = kind < _purchaseShare ? EventTypes.Purchase
                : kind < _purchaseShare + _cartShare ? EventTypes.Cart : EventTypes.View;
            // The square makes some products more popular than others.
            double place = _random.NextUnit();
            place *= place;
            if (type == EventTypes.Purchase || _random.NextUnit() < _otherShare)
                _log.WriteRow(time, type, _log.OtherProduct((int)(place * _log._otherProducts)), visitor.User, visitor.Session, hasSession);
            else
                _log.WriteRow(time, type, _log._items[(int)(place * _log._items.Length)], visitor.User, visitor.Session, hasSession);
        }
    }

    /// <summary>A product that lacks a category, a brand or both, in the shares of the real log.</summary>
    private static byte[] OtherProductValues(int number)
    {
        ulong mixed = Mix((ulong)number + 1);
        double kind = (mixed >> 11) * (1.0 / (1UL << 53));
        bool hasCode = kind < (RealIncomplete - RealNoCode) / RealIncomplete;
        bool hasBrand = kind >= RealNoBrand / RealIncomplete;
        int category = (int)(mixed % 500);
        return Values(
            FirstOtherProduct + number,
            FirstOtherCategory + category,
            hasCode ? ShopNames.Category(category % 120).Replace(' ', '.') : "",
            hasBrand ? ShopNames.Brand((int)(mixed % 3000)) : "",
            100 + (long)(mixed % 150_000));
    }

    /// <summary>A bijection of 64-bit numbers whose every output bit depends on every input bit (the finaliser of SplitMix64).</summary>
    private static ulong Mix(ulong value)
    {
        value = (value ^ (value >> 30)) * 0xBF58_476D_1CE4_E5B9;
        value = (value ^ (value >> 27)) * 0x94D0_49BB_1331_11EB;
        return value ^ (value >> 31);
    }

    private readonly Dictionary<int, byte[]> _others = [];

    private byte[] OtherProduct(int number) =>
        CollectionsMarshal.GetValueRefOrAddDefault(_others, number, out _) ??= OtherProductValues(number);

    private static byte[] Values(long product, long category, string code, string brand, long cents) =>
        Encoding.UTF8.GetBytes(string.Create(
        CultureInfo.InvariantCulture, $"{product},{category},{code},{brand},{cents / 100}.{cents % 100:00}"));

    private void WriteRow(long time, EventTypes type, ReadOnlySpan<byte> product, long user, uint session, bool hasSession)
    {
        int start = _buffer.WrittenCount;
        ReadOnlySpan<byte> name = type switch { EventTypes.View => "view"u8, EventTypes.Cart => "cart"u8, _ => "purchase"u8 };
        DateTime utc = DateTime.UnixEpoch.AddSeconds(time);
        Span<byte> row = _buffer.GetSpan(LongestRow);
        Utf8.TryWrite(row, CultureInfo.InvariantCulture, $"{utc:yyyy-MM-dd HH:mm:ss} UTC,{name},{product},{user},", out int length);
        if (hasSession)
        {
            Utf8.TryWrite(row[length..], $"{Scatter(session):x8}-0000-4000-8000-{user:D12}", out int added);
            length += added;
        }
        row[length++] = (byte)'\n';
        _buffer.Advance(length);
        _written++;
        if ((_written + 1) * _duplicates / _rows > _duplicated)
        {
            _duplicated++;
            _written++;
            _buffer.Write(_buffer.WrittenSpan.Slice(start, length));
        }
    }

    /// <summary>A bijection that makes sessions begin with any digits: odd factors and shifts lose nothing.</summary>
    private static uint Scatter(uint number)
    {
        number = (number ^ (number >> 16)) * 0x85EB_CA6B;
        number = (number ^ (number >> 13)) * 0xC2B2_AE35;
        return number ^ (number >> 16);
    }

    private void Report(Stream stream, IProgress<ProgressUpdate>? progress)
    {
        if (_buffer.WrittenCount < BufferSize)
            return;
        Flush(stream);
        progress?.Report(new("synthesizing events", _written, _rows, "rows"));
    }

    private void Flush(Stream stream)
    {
        stream.Write(_buffer.WrittenSpan);
        _buffer.ResetWrittenCount();
    }
}
