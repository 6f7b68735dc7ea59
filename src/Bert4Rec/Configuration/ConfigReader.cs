using System.Globalization;
using System.Numerics;
using Bert4Rec.Serialization;
using YamlDotNet.RepresentationModel;

namespace Bert4Rec.Configuration;

/// <summary>Reads typed values out of resolved settings; a value of the wrong type or range is an error that names its line.</summary>
internal sealed class ConfigReader(ConfigTree tree, YamlMappingNode settings)
{
    /// <summary>What was read and has no effect, each with its place.</summary>
    public List<string> Warnings { get; } = [];

    public YamlNode this[string key] => settings[key];

    public bool IsSet(string key) => !ConfigTree.IsNull(this[key]);

    public void Warn(YamlNode node, string message) => Warnings.Add($"{tree.Where(node)}: {message}");

    public InputException Error(string key, string message) => tree.Error(this[key], message);

    /// <summary>"hidden_size must be a whole number, not 'x'".</summary>
    public InputException WrongValue(YamlNode node, string key, string wanted) =>
        tree.Error(node, $"{key} must be {wanted}, not {Describe(node)}");

    public string Text(string key) => Text(this[key], key);

    public string Text(YamlNode node, string key) =>
        node is YamlScalarNode { Value.Length: > 0 } scalar && !ConfigTree.IsNull(node) && !scalar.Value!.Contains('\0')
            ? scalar.Value
            : throw WrongValue(node, key, "text");

    /// <summary>A name that a folder and its files can have, and only ones inside the folder they are put in.</summary>
    public string? OptionalFileName(string key)
    {
        string? name = IsSet(key) ? Text(key) : null;
        return name is null || (name is not ("." or "..") && name.AsSpan().IndexOfAny('/', '\\') < 0)
            ? name
            : throw WrongValue(this[key], key, "a name, not a path (the folder of datasets is data_path)");
    }

    /// <summary>One of a few words, without regard to case.</summary>
    public string OneOf(YamlNode node, string key, params string[] words) =>
        words.FirstOrDefault(word => IsWord(node, word)) ?? throw WrongValue(node, key, string.Join(" or ", words));

    /// <summary>One of the names of T, in lower case in a config.</summary>
    public T OneOf<T>(string key)
        where T : struct, Enum =>
        Enum.Parse<T>(OneOf(this[key], key, [.. Enum.GetNames<T>().Select(name => name.ToLowerInvariant())]), ignoreCase: true);

    /// <summary>A word of which there is only one choice here.</summary>
    public void Only(YamlNode node, string key, string word, string why)
    {
        if (!IsWord(node, word))
            throw WrongValue(node, key, $"{word} ({why})");
    }

    public static bool IsWord(YamlNode node, string word) =>
        node is YamlScalarNode scalar && word.Equals(scalar.Value, StringComparison.OrdinalIgnoreCase);

    public bool Flag(string key) => (this[key] as YamlScalarNode)?.Value?.ToLowerInvariant() switch
    {
        "true" or "yes" or "on" => true,
        "false" or "no" or "off" => false,
        _ => throw WrongValue(this[key], key, "true or false"),
    };

    public int Whole(string key, int minimum, int maximum = int.MaxValue) => Whole(this[key], key, minimum, maximum);

    public int Whole(YamlNode node, string key, int minimum, int maximum = int.MaxValue)
    {
        if (Number<int>(node) is { } value && value >= minimum && value <= maximum)
            return value;
        string range = maximum == int.MaxValue ? $"of at least {minimum}" : $"from {minimum} to {maximum}";
        throw WrongValue(node, key, $"a whole number {range}");
    }

    public double Real(string key, string wanted, Func<double, bool> accepts) => Real(this[key], key, wanted, accepts);

    public double Real(YamlNode node, string key, string wanted, Func<double, bool> accepts) =>
        Number<double>(node) is { } value && double.IsFinite(value) && accepts(value) ? value : throw WrongValue(node, key, wanted);

    public double Probability(string key) => Real(key, "a probability from 0 to 1", value => value is >= 0 and <= 1);

    public double DropoutProbability(string key) =>
        Real(key, "a probability of at least 0 and below 1", value => value >= 0 && (float)value < 1);

    /// <summary>Number above zero that is still one as a float.</summary>
    public double Positive(string key) => Real(key, "a number above 0", value => (float)value > 0 && float.IsFinite((float)value));

    /// <summary>A character that stands between values; "\t" may be written with or without YAML's escape.</summary>
    public char Separator(string key) => Separator(this[key], key);

    /// <summary>As <see cref="Separator(string)"/>; "tab" will do as well.</summary>
    public char Separator(YamlNode node, string key) => SeparatorOf((node as YamlScalarNode)?.Value ?? "")
        ?? throw WrongValue(node, key, "one ASCII character, a TAB or one that prints");

    /// <summary>The character that a text stands for; null for none that could separate values.</summary>
    public static char? SeparatorOf(string text) => text switch
    {
        "\\t" or "tab" => '\t',
        [var one] when char.IsAscii(one) && (one == '\t' || !char.IsControl(one)) => one,
        _ => null,
    };

    /// <summary>A list, or a single value as a list of one.</summary>
    public IReadOnlyList<T> List<T>(YamlNode node, string key, Func<YamlNode, string, T> read)
    {
        var values = (node is YamlSequenceNode list ? list.Children : [node]).Select(item => read(item, key)).Distinct().ToArray();
        return values.Length > 0 ? values : throw tree.Error(node, $"{key} must not be an empty list");
    }

    public YamlMappingNode Mapping(YamlNode node, string key, string wanted) =>
        node as YamlMappingNode ?? throw WrongValue(node, key, wanted);

    public Intervals? OptionalIntervals(string key) => !IsSet(key)
        ? null
        : TryReadIntervals(this[key])
            ?? throw WrongValue(this[key], key, "an interval like \"[10,inf)\" or \"(0,5];[7,9]\", in quotes");

    /// <summary>"[3,inf)", or a YAML list of two numbers, which is how [3, 5] reads.</summary>
    public static Intervals? TryReadIntervals(YamlNode node)
    {
        string? text = node switch
        {
            YamlScalarNode scalar => scalar.Value,
            YamlSequenceNode { Children.Count: 2 } list when list.All(end => end is YamlScalarNode) =>
                $"[{((YamlScalarNode)list[0]).Value},{((YamlScalarNode)list[1]).Value}]",
            _ => null,
        };
        return text is not null && Intervals.TryParse(text, out var intervals) ? intervals : null;
    }

    private static T? Number<T>(YamlNode node)
        where T : struct, INumberBase<T>
    {
        var style = typeof(T) == typeof(int) ? NumberStyles.AllowLeadingSign : NumberStyles.Float;
        return node is YamlScalarNode scalar && T.TryParse(scalar.Value, style, CultureInfo.InvariantCulture, out var value) ? value : null;
    }

    private static string Describe(YamlNode node) => node switch
    {
        YamlScalarNode scalar => Printable.Quoted(scalar.Value ?? ""),
        YamlSequenceNode => "a list",
        _ => "a mapping",
    };
}
