using Bert4Rec.Serialization;
using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace Bert4Rec.Configuration;

/// <summary>
/// The settings of several YAML files and overrides, later ones over earlier ones, every node still knowing the file and line it was
/// written on. As in RecBole a key's value replaces the whole earlier value; only dotted keys of overrides reach inside one.
/// </summary>
internal sealed class ConfigTree
{
    /// <summary>Where a value comes from that nobody gave.</summary>
    public const string Default = "default";

    private const int LongestFile = 1 << 22;

    private readonly Dictionary<YamlNode, string> _origins;

    public ConfigTree()
    {
        _origins = new(ReferenceEqualityComparer.Instance);
    }

    /// <summary>A tree of settings that another one resolved.</summary>
    public ConfigTree(ConfigTree other, YamlMappingNode resolved)
    {
        _origins = new(other._origins, ReferenceEqualityComparer.Instance);
        foreach (var (key, value) in resolved.Children)
            Put(Root, key, value);
    }

    public YamlMappingNode Root { get; } = new();

    /// <summary>Puts a file's keys over those that are there.</summary>
    /// <exception cref="InputException">The file cannot be read, is not a YAML mapping, or exceeds <see cref="YamlLimits"/>.</exception>
    public void AddFile(string path) => AddText(InputFile.ReadText(path, LongestFile, "a config"), path);

    /// <summary>Puts the keys of a text over those that are there.</summary>
    /// <exception cref="InputException">It is not a YAML mapping, or exceeds <see cref="YamlLimits"/>.</exception>
    public void AddText(string text, string path)
    {
        YamlNode? root;
        try
        {
            root = Parse(text, mark => $"{path}:{mark.Line}");
        }
        catch (YamlException e)
        {
            throw InputException.At(
                path, Math.Max(1, e.Start.Line), $"not YAML: {Printable.OneLine(e.InnerException?.Message ?? e.Message)}");
        }
        if (root is null || IsNull(root))
            return;
        if (root is not YamlMappingNode mapping)
            throw Error(root, "a config is a mapping of 'key: value' lines");
        foreach (var (key, value) in mapping.Children)
        {
            if (key is not YamlScalarNode { Value: not null })
                throw Error(key, "a key must be a plain word");
            Put(Root, key, value);
        }
    }

    /// <summary>
    /// Sets "key=value", the value being YAML; dots in the key lead into the mapping that is there ("eval_args.mode=uni100").
    /// </summary>
    /// <param name="origin">Where it stands, for errors; null for the command line.</param>
    /// <exception cref="InputException">There is no key or no '=', or the setting exceeds <see cref="YamlLimits"/>.</exception>
    public void AddOverride(string setting, string? origin = null)
    {
        int equals = setting.IndexOf('=');
        string[] path = equals < 0 ? [""] : setting[..equals].Split('.', StringSplitOptions.TrimEntries);
        if (path.Contains(""))
            throw new InputException(
                $"{Printable.Quoted(setting)}: a setting is key=value, for example epochs=20 or eval_args.mode=uni100");
        string text = setting[(equals + 1)..];
        origin ??= $"--set {Printable.Short(setting)}";
        if (path.Length > YamlLimits.Depth)
            throw new InputException($"{origin}: a key has at most {YamlLimits.Depth} parts, not {path.Length}") { IsWrongUsage = true };
        YamlNode? value;
        try
        {
            value = Parse(text, _ => origin);
        }
        catch (YamlException)
        {
            // "[10,inf)" is an interval, not YAML. What should have been YAML fails as text where it is read.
            value = Known(new YamlScalarNode(text) { Style = ScalarStyle.DoubleQuoted }, origin);
        }
        PutInside(Root, path, value ?? Known(new YamlScalarNode("~"), origin), origin);
    }

    /// <summary>Puts defaults under what is there; a null there takes the default as well.</summary>
    /// <returns>The resolved settings, in the order of <see cref="ConfigKeys.All"/>.</returns>
    public YamlMappingNode Resolve(ConfigKind kind)
    {
        var resolved = new YamlMappingNode();
        bool fromEventLog = Root.Children.TryGetValue(new YamlScalarNode("event_log"), out var log) && !IsNull(log);
        foreach (var key in ConfigKeys.All)
        {
            var value = Parse(key.DefaultFor(kind, fromEventLog), _ => Default)!;
            if (Root.Children.TryGetValue(new YamlScalarNode(key.Name), out var given) && !IsNull(given))
                value = key.Name == "eval_args" && given is YamlMappingNode args ? OverDefaults((YamlMappingNode)value, args) : given;
            resolved.Add(key.Name, value);
        }
        return resolved;
    }

    /// <summary>"FILE:LINE" of a node, or the override it came from.</summary>
    public string Where(YamlNode node) => _origins.GetValueOrDefault(node, "config");

    public InputException Error(YamlNode node, string message) => new($"{Where(node)}: {message}");

    public static bool IsNull(YamlNode node) =>
        node is YamlScalarNode { Value: null }
            or YamlScalarNode { Style: ScalarStyle.Plain or ScalarStyle.Any, Value: "" or "~" or "null" or "Null" or "NULL" };

    private YamlNode? Parse(string text, Func<Mark, string> origin)
    {
        var stream = new YamlStream();
        try
        {
            YamlLimits.Check(text, origin);
            stream.Load(new StringReader(text));
        }
        catch (Exception e) when (e is not (YamlException or InputException))
        {
            // YamlDotNet lets a few other exceptions out of its scanner.
            throw new YamlException(e.Message);
        }
        if (stream.Documents.Count == 0)
            return null;
        if (stream.Documents.Count > 1)
            throw new YamlException(stream.Documents[1].RootNode.Start, stream.Documents[1].RootNode.End, "a second document begins here");
        foreach (var node in stream.Documents[0].AllNodes)
        {
            // Such a key is none of the keys known by their words: it would be passed over.
            if (node is YamlMappingNode mapping && mapping.Children.Keys.FirstOrDefault(key => !key.Tag.IsEmpty) is { } tagged)
                throw new YamlException(tagged.Start, tagged.End, $"a key with the tag {tagged.Tag}; write it without");
            _origins[node] = origin(node.Start);
        }
        return stream.Documents[0].RootNode;
    }

    private YamlNode Known(YamlNode node, string origin)
    {
        _origins[node] = origin;
        return node;
    }

    /// <summary>eval_args is the one mapping that RecBole fills up: what it leaves out, or sets to null, keeps its default.</summary>
    private YamlMappingNode OverDefaults(YamlMappingNode defaults, YamlMappingNode given)
    {
        // But for group_by, whose null is RecBole's word for another split.
        foreach (var (key, value) in given.Children)
        {
            if (!IsNull(value) || key is YamlScalarNode { Value: "group_by" })
                Put(defaults, key, value);
        }
        _origins[defaults] = _origins[given];
        return defaults;
    }

    /// <summary>Sets the value at a path, in copies of the mappings on the way: an alias may share them.</summary>
    private void PutInside(YamlMappingNode target, ReadOnlySpan<string> path, YamlNode value, string origin)
    {
        var key = Known(new YamlScalarNode(path[0]), origin);
        if (path.Length > 1)
        {
            var inner = new YamlMappingNode();
            // A split is one strategy: beside an earlier one it would be two.
            if (path[0] != "split" && target.Children.TryGetValue(key, out var old) && old is YamlMappingNode oldMapping)
                inner = new YamlMappingNode(oldMapping.Children) { Style = oldMapping.Style };
            else if (path[0] == "event_log" && target.Children.TryGetValue(key, out var input) && !IsNull(input))
                // A log by its name alone.
                inner.Add("input", input);
            PutInside(inner, path[1..], value, origin);
            value = Known(inner, origin);
        }
        Put(target, key, value);
    }

    private static void Put(YamlMappingNode target, YamlNode key, YamlNode value)
    {
        target.Children.Remove(key);
        target.Children.Add(key, value);
    }
}
