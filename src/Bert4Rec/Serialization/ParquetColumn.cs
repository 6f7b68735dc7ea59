using System.Globalization;
using System.Numerics;
using ParquetSharp;

namespace Bert4Rec.Serialization;

/// <summary>What the values of a Parquet column are, whatever their width and encoding.</summary>
internal enum ParquetKind
{
    /// <summary>No value: what a column without any is written as.</summary>
    Null,
    Text,

    /// <summary>A whole number.</summary>
    Integer,
    Number,

    /// <summary>A date with a time of day.</summary>
    Time,
}

/// <summary>
/// A column whose values are read as the text that CSV would have: times as "2019-10-01 00:00:00 UTC" (fractions of a second left out, and
/// taken for UTC where the file says nothing of it), floats and doubles as their shortest text, decimals with all their decimals.
/// </summary>
internal sealed class ParquetColumn
{
    /// <summary>Rows that are read at once, at most.</summary>
    public const int BatchSize = 4096;

    /// <summary>The Julian day of 1970-01-01, from which an INT96 counts its days.</summary>
    private const long JulianEpoch = 2_440_588;

    private const long SecondsPerDay = 86_400, NanosecondsPerSecond = 1_000_000_000;

    /// <summary>0001-01-01 and 10000-01-01 in Unix seconds.</summary>
    private const long FirstSecond = -62_135_596_800, EndSecond = 253_402_300_800;

    private readonly ParquetInput _file;
    private readonly int _index;
    private readonly Source _source;
    private readonly short[] _definitions = new short[BatchSize];
    private readonly short[] _repetitions = new short[BatchSize];
    private readonly short _maximumDefinition;
    private readonly bool _isOptional;
    private ColumnReader? _reader;
    private int _group;

    internal ParquetColumn(ParquetInput file, string name, int index, ColumnDescriptor leaf)
    {
        _file = file;
        _index = index;
        Name = name;
        IsList = leaf.MaxRepetitionLevel > 0;
        _maximumDefinition = leaf.MaxDefinitionLevel;
        using (ParquetSharp.Schema.Node node = leaf.SchemaNode)
            _isOptional = node.Repetition == Repetition.Optional;
        using LogicalType logical = leaf.LogicalType;
        TypeName = $"{leaf.PhysicalType}{(logical.Type == LogicalTypeEnum.None ? "" : $" ({logical.Type})")}";
        (Kind, _source) = Choose(leaf, logical);
    }

    public string Name { get; }

    public ParquetKind Kind { get; }

    public bool IsList { get; }

    /// <summary>The type as the file has it, for errors: "Int64 (Timestamp)".</summary>
    public string TypeName { get; }

    /// <summary>Of the last <see cref="Read"/>: whether a level begins a row, and has a value, or a null as a value of a list.</summary>
    public (bool IsFirst, bool HasValue, bool IsNull) this[int level] => (
        _repetitions[level] == 0,
        _definitions[level] == _maximumDefinition,
        _isOptional && _definitions[level] == _maximumDefinition - 1);

    /// <summary>Goes to the start of the column in a row group.</summary>
    public void Open(RowGroupReader group, int number)
    {
        Close();
        _group = number;
        _reader = ParquetInput.Checked(Place, () => group.Column(_index));
    }

    public void Close() => _reader?.Dispose();

    /// <summary>Memory for values of this column.</summary>
    public ParquetBatch NewBatch() => _source.NewBatch();

    /// <summary>Reads values, empty ones for nulls: in a column that is no list, one a row.</summary>
    /// <param name="to">Where they are added; of <see cref="NewBatch"/>.</param>
    /// <param name="maximum">Values at most, <see cref="BatchSize"/> of them or fewer.</param>
    /// <returns>Values read; 0 where there are no more.</returns>
    /// <exception cref="InputException">The file is damaged, or a value too long.</exception>
    public int Read(ParquetBatch to, int maximum) => ParquetInput.Checked(Place, () =>
    {
        int levels = _source.Read(_reader!, maximum, _definitions, _repetitions, out int values);
        if (_maximumDefinition == 0)
            _definitions.AsSpan(0, levels).Clear();
        if (!IsList)
            _repetitions.AsSpan(0, levels).Clear();
        if (values != _definitions.AsSpan(0, levels).Count(_maximumDefinition))
            throw _file.Damaged(_group, $"column {Name} has {values} values where {levels} rows tell of others");
        _source.Add(_definitions.AsSpan(0, levels), _maximumDefinition, to);
        return levels;
    });

    /// <summary>Reads exactly so many rows.</summary>
    /// <exception cref="InputException">There are fewer, or the file is damaged.</exception>
    public void ReadRows(ParquetBatch to, int rows)
    {
        for (int done = 0, read; done < rows; done += read)
        {
            read = Read(to, rows - done);
            if (read == 0)
                throw _file.Damaged(_group, $"column {Name} has fewer rows than the footer tells of");
        }
    }

    /// <summary>That the row group has no more of it than the footer tells.</summary>
    /// <exception cref="InputException">It has, or the file is damaged.</exception>
    public void CheckEnd()
    {
        if (ParquetInput.Checked(Place, () => _reader!.HasNext))
            throw _file.Damaged(_group, $"column {Name} has more rows than the footer tells of");
    }

    private string Place => $"{_file.Place(_group)}: column {Name}";

    private (ParquetKind Kind, Source Source) Choose(ColumnDescriptor leaf, LogicalType logical)
    {
        int scale = (logical as DecimalLogicalType)?.Scale ?? 0;
        ParquetKind whole = scale > 0 ? ParquetKind.Number : ParquetKind.Integer;
        int length = leaf.TypeLength;
        return (leaf.PhysicalType, logical.Type) switch
        {
            (PhysicalType.Int32, LogicalTypeEnum.Nil) => (ParquetKind.Null, new ValueSource<int>((_, _) => 0)),
            (PhysicalType.ByteArray, LogicalTypeEnum.String or LogicalTypeEnum.Enum or LogicalTypeEnum.Json or LogicalTypeEnum.None) =>
                (ParquetKind.Text, new TextSource<ByteArray>((value, to) => to.Add(Bytes(value.Pointer, value.Length)))),
            (PhysicalType.ByteArray, LogicalTypeEnum.Decimal) => (whole, new TextSource<ByteArray>(
                (value, to) => to.Add(WriteDecimal(Signed(value.Pointer, value.Length), scale, to.Reserve(ParquetBatch.Longest))))),
            (PhysicalType.FixedLenByteArray, LogicalTypeEnum.Decimal) => (whole, new TextSource<FixedLenByteArray>(
                (value, to) => to.Add(WriteDecimal(Signed(value.Pointer, length), scale, to.Reserve(ParquetBatch.Longest))))),
            (PhysicalType.FixedLenByteArray, LogicalTypeEnum.Uuid) => (ParquetKind.Text, new TextSource<FixedLenByteArray>((value, to) =>
            {
                new Guid(Bytes(value.Pointer, length), bigEndian: true).TryFormat(to.Reserve(ParquetBatch.Longest), out int written);
                to.Add(written);
            })),
            (PhysicalType.Int32, LogicalTypeEnum.Int) when !((IntLogicalType)logical).IsSigned =>
                (ParquetKind.Integer, new ValueSource<int>((value, to) => Write((uint)value, to))),
            (PhysicalType.Int64, LogicalTypeEnum.Int) when !((IntLogicalType)logical).IsSigned =>
                (ParquetKind.Integer, new ValueSource<long>((value, to) => Write((ulong)value, to))),
            (PhysicalType.Int32, LogicalTypeEnum.Int or LogicalTypeEnum.None) => (ParquetKind.Integer, new ValueSource<int>(Write)),
            (PhysicalType.Int64, LogicalTypeEnum.Int or LogicalTypeEnum.None) => (ParquetKind.Integer, new ValueSource<long>(Write)),
            (PhysicalType.Int32, LogicalTypeEnum.Decimal) =>
                (whole, new ValueSource<int>((value, to) => WriteDecimal(value, scale, to))),
            (PhysicalType.Int64, LogicalTypeEnum.Decimal) =>
                (whole, new ValueSource<long>((value, to) => WriteDecimal(value, scale, to))),
            (PhysicalType.Int64, LogicalTypeEnum.Timestamp) when PerSecond((TimestampLogicalType)logical) is > 0 and var per =>
                (ParquetKind.Time, new ValueSource<long>((value, to) => WriteTime(0, value, per, to))),
            (PhysicalType.Int96, _) => (ParquetKind.Time, new ValueSource<Int96>((value, to) => WriteTime(
                (value.C - JulianEpoch) * SecondsPerDay, ((long)value.B << 32) | (uint)value.A, NanosecondsPerSecond, to))),
            (PhysicalType.Float, LogicalTypeEnum.None) => (ParquetKind.Number, new ValueSource<float>(
                (value, to) => NumberText.WriteShortest(NumberText.Widen(value), to))),
            (PhysicalType.Double, LogicalTypeEnum.None) => (ParquetKind.Number, new ValueSource<double>(NumberText.WriteShortest)),
            _ => throw new InputException(
                $"{_file.Path}: column {Name} is {TypeName}, which is no text, number or timestamp; cast it where the file is written"),
        };
    }

    private static unsafe ReadOnlySpan<byte> Bytes(IntPtr pointer, int length) => new((void*)pointer, length);

    /// <summary>Two's complement, the highest byte first.</summary>
    private static Int128 Signed(IntPtr pointer, int length)
    {
        ReadOnlySpan<byte> bytes = Bytes(pointer, length);
        if (length is 0 or > 16)
            throw new InvalidDataException($"a decimal of {length} bytes");
        Int128 value = (sbyte)bytes[0];
        foreach (byte next in bytes[1..])
            value = (value << 8) | next;
        return value;
    }

    private static long PerSecond(TimestampLogicalType type) => type.TimeUnit switch
    {
        TimeUnit.Millis => 1_000,
        TimeUnit.Micros => 1_000_000,
        TimeUnit.Nanos => NanosecondsPerSecond,
        _ => 0,
    };

    private static int Write<T>(T value, Span<byte> to)
        where T : IBinaryInteger<T>
    {
        value.TryFormat(to, out int written, default, CultureInfo.InvariantCulture);
        return written;
    }

    private static int WriteDecimal(Int128 unscaled, int scale, Span<byte> to)
    {
        Span<byte> digits = stackalloc byte[40];
        int count = Write(UInt128.CreateTruncating(unscaled < 0 ? -unscaled : unscaled), digits);
        int sign = unscaled < 0 ? 1 : 0, zeros = Math.Max(0, scale + 1 - count), whole = zeros + count - scale;
        to[0] = (byte)'-';
        to = to[sign..];
        to[..zeros].Fill((byte)'0');
        digits[..count].CopyTo(to[zeros..]);
        if (scale > 0)
        {
            to.Slice(whole, scale).CopyTo(to[(whole + 1)..]);
            to[whole] = (byte)'.';
        }
        return sign + zeros + count + (scale > 0 ? 1 : 0);
    }

    /// <summary>As event logs have it, milliseconds where there are some; what no calendar has is a number with its sign, which no reader
    /// of times takes for one.</summary>
    /// <param name="begin">Unix seconds.</param>
    /// <param name="ticks">What comes on top of them.</param>
    /// <param name="perSecond">How many of these a second has.</param>
    private static int WriteTime(long begin, long ticks, long perSecond, Span<byte> to)
    {
        // Rounded down, before 1970 too.
        long whole = (ticks / perSecond) - (ticks % perSecond < 0 ? 1 : 0), second = begin + whole;
        int milliseconds = (int)((ticks - (whole * perSecond)) * 1000 / perSecond);
        if (second is < FirstSecond or >= EndSecond)
        {
            to[0] = (byte)'+';
            return second < 0 ? Write(second, to) : 1 + Write(second, to[1..]);
        }
        var time = new DateTime((second - FirstSecond) * TimeSpan.TicksPerSecond);
        (int year, int month, int day) = time;
        "0000-00-00 00:00:00 UTC"u8.CopyTo(to);
        Digits(year / 100, to);
        Digits(year % 100, to[2..]);
        Digits(month, to[5..]);
        Digits(day, to[8..]);
        Digits(time.Hour, to[11..]);
        Digits(time.Minute, to[14..]);
        Digits(time.Second, to[17..]);
        if (milliseconds == 0)
            return 23;
        ".000 UTC"u8.CopyTo(to[19..]);
        to[20] = (byte)('0' + (milliseconds / 100));
        Digits(milliseconds % 100, to[21..]);
        return 27;

        static void Digits(int value, Span<byte> to) => (to[0], to[1]) = ((byte)('0' + (value / 10)), (byte)('0' + (value % 10)));
    }

    /// <summary>Values of a physical type as they come.</summary>
    private abstract class Source
    {
        public abstract int Read(ColumnReader reader, int maximum, short[] definitions, short[] repetitions, out int values);

        public abstract ParquetBatch NewBatch();

        /// <summary>Adds the values that were read, and a null where the definition is below the maximum.</summary>
        public abstract void Add(ReadOnlySpan<short> definitions, short maximum, ParquetBatch to);
    }

    private abstract class Source<T> : Source
        where T : unmanaged
    {
        protected T[] Values { get; } = new T[BatchSize];

        public override int Read(ColumnReader reader, int maximum, short[] definitions, short[] repetitions, out int values)
        {
            int levels = (int)((ColumnReader<T>)reader).ReadBatch(maximum, definitions, repetitions, Values, out long read);
            values = (int)read;
            return levels;
        }
    }

    /// <summary>What points into a page is made text before the page goes.</summary>
    private sealed class TextSource<T>(Action<T, TextBatch> write) : Source<T>
        where T : unmanaged
    {
        public override ParquetBatch NewBatch() => new TextBatch();

        public override void Add(ReadOnlySpan<short> definitions, short maximum, ParquetBatch to)
        {
            var texts = (TextBatch)to;
            int value = 0;
            foreach (short definition in definitions)
            {
                if (definition == maximum)
                    write(Values[value++], texts);
                else
                    texts.Add(0);
            }
        }
    }

    private sealed class ValueSource<T>(TextWriter<T> write) : Source<T>
        where T : unmanaged
    {
        public override ParquetBatch NewBatch() => new ValueBatch<T>(write);

        public override void Add(ReadOnlySpan<short> definitions, short maximum, ParquetBatch to)
        {
            var values = (ValueBatch<T>)to;
            int value = 0;
            foreach (short definition in definitions)
            {
                bool hasValue = definition == maximum;
                values.Add(hasValue ? Values[value++] : default, hasValue);
            }
        }
    }
}
